//go:build lab

package labenv

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// NewNodeStack is NewStack without a target host and a controller: for volumes on targets that a test makes itself.
func NewNodeStack(t *testing.T, o StackOptions) *Stack {
	t.Helper()
	Require(t, ISCSI, LIO, DMMultipath)
	e := New(t, o.Net)
	s := &Stack{Env: e, mkdir: func(dir string) error { return os.MkdirAll(dir, 0o750) }}
	s.Initiator, s.Node = e.StartInitiator(o.Initiator), e.Node(o.Node)
	return s
}

// Static is a volume that an administrator has written for a LUN of a raw target, with the network's interfaces. Its WWID is as
// AddLUN gives it.
func (s *Stack) Static(t *RawTarget, lun int, wwid string, portals []string, c *csi.VolumeCapability) *Volume {
	v := s.Adopt(&csi.Volume{VolumeId: fmt.Sprintf("static/lun%d", lun), VolumeContext: map[string]string{
		"iqn": t.IQN, "portals": strings.Join(portals, ","), "lun": fmt.Sprint(lun), "interfaces": strings.Join(s.InterfaceNames(), ","),
		"wwid": "naa." + strings.TrimPrefix(wwid, "3"),
	}}, c)
	v.PublishContext = map[string]string{"lun": fmt.Sprint(lun)} // what a controller would say
	return v
}

// Attach takes a static volume from nothing to usable at its target path; failure fails the test.
func (v *Volume) Attach() { v.s.T.Helper(); v.all("attach", v.Stage, v.Publish) }

// Detach takes it back.
func (v *Volume) Detach() {
	v.s.T.Helper()
	v.all("detach", v.Unpublish, v.Unstage)
}
