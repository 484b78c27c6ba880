package driver

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func portalList(texts ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

// portalRig is a node with one volume, and what was not named so far.
type portalRig struct {
	*rig
	missed map[string]map[netip.AddrPort]int
}

// look asks the targets, and wants the record's portals to be those.
func (r *portalRig) look(t *testing.T, what string, now []netip.AddrPort, want ...netip.AddrPort) {
	t.Helper()
	r.host.portals = now
	r.followPortals(t.Context(), r.missed)
	rec := r.recorded(t, testID)
	if diff := cmp.Diff(want, rec.Attachment.Portals, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestFollowPortals: what is new counts at once, what is not named when it was not named twice; a repeated stage changes nothing.
func TestFollowPortals(t *testing.T) {
	r := &portalRig{newRig(t), map[string]map[netip.AddrPort]int{}}
	r.stageIt(t, stageRequest())
	given := r.recorded(t, testID).Attachment.Portals
	more := portalList("192.0.2.77:3260")
	all := slices.Concat(given, more)
	r.look(t, "the same", given, given...)
	if rec := r.recorded(t, testID); rec.Given != nil {
		t.Errorf("given: %v", rec.Given)
	}
	r.look(t, "one more", slices.Concat(given[:1], more), all...)
	if !doubted(r.missed) {
		t.Error("nothing is missed")
	}
	r.look(t, "all again", all, all...)
	if doubted(r.missed) {
		t.Errorf("missed: %v", r.missed)
	}
	r.look(t, "missed once", more, all...)
	r.look(t, "missed twice", more, more...)
	r.fail["portals"] = errors.New("no session")
	r.look(t, "no answer", nil, more...)
	r.stageIt(t, stageRequest())
	r.look(t, "staged again", nil, more...)
	r.boot("boot-2")
	r.stageIt(t, stageRequest())
	r.look(t, "staged after a reboot", nil, given...)
	if rec := r.recorded(t, testID); rec.Given != nil {
		t.Errorf("given after a reboot: %v", rec.Given)
	}
}
