//go:build cluster

package static

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// malformed are attributes that cannot be right; the controller refuses to attach.
var malformed = map[string]struct {
	key, value string
	words      []string
}{
	"newline":   {"iqn", "iqn.2001-05.com.example:a\nnode.startup = automatic", []string{`volume_context["iqn"]`, `a\nnode.startup`, "iqn.YYYY-MM"}},
	"path":      {"iqn", "../../etc/passwd", []string{`volume_context["iqn"]: "../../etc/passwd"`, "iqn.YYYY-MM"}},
	"port":      {"portals", "10.99.0.10:99999", []string{`volume_context["portals"]: "10.99.0.10:99999"`, "192.0.2.1:3260"}},
	"lun":       {"lun", "-1", []string{`volume_context["lun"]: "-1"`, "a number from 0 to 65535"}},
	"wwid":      {"wwid", "36001405abc", []string{`volume_context["wwid"]: "36001405abc"`, "naa. and 16 or 32 hex digits"}},
	"attribute": {"targetPortal", "10.99.0.10", []string{`volume_context: unknown key "targetPortal"`, "iqn, lun, minPaths", "portals, preferredInterface, wwid"}},
}

// A pod says what is malformed in its PersistentVolume.
func TestMalformed(t *testing.T) {
	e := clusterenv.Shared(t)
	a := newArray(e, 2)
	for name, m := range malformed {
		a.volume(name, a.attributes(map[string]string{m.key: m.value}))
	}
	for name, m := range malformed {
		e.Told("pod/"+name, append(m.words, "FailedAttachVolume", "InvalidArgument", "is refused; allowed")...)
	}
}

// wrong are attributes that are well-formed and not those of the array; the node says what it found.
var wrong = map[string]struct {
	key, value string
	words      []string
}{
	"no-such-lun":   {"lun", "9", []string{"the target shows no LUN 9 to this initiator"}},
	"other-wwid":    {"wwid", "naa.6001405000000000000000000000beef", []string{"WWID mismatch: LUN 7 is naa.6001405", "wanted is naa.6001405000000000000000000000beef"}},
	"no-portal":     {"portals", "10.99.0.10:3261", []string{"to 10.99.0.10:3261", "connection refused"}},
	"no-host":       {"portals", "10.99.0.99:3260", []string{"to 10.99.0.99:3260", "portal "}},
	"no-interface":  {"interfaces", "san-z", []string{`unknown interface "san-z": this node's configuration has san-a, san-b`}},
	"half-the-nics": {"minPaths", "5", []string{`volume_context["minPaths"]: "5"`, "1 to 4"}},
}

// A pod says what of its PersistentVolume is not as the array has it.
func TestWrong(t *testing.T) {
	e := clusterenv.Shared(t)
	a := newArray(e, 3)
	a.chap(secret)
	for name, m := range wrong {
		a.volume(name, a.attributes(map[string]string{m.key: m.value}))
	}
	for name, m := range wrong {
		e.Told("pod/"+name, append(m.words, "Warning", "Failed")...)
	}
}

// A pod waits for the right secret of an array, and starts when it is there.
func TestWrongSecret(t *testing.T) {
	e := clusterenv.Shared(t)
	a := newArray(e, 4)
	a.chap("not-the-secret")
	a.volume("data", a.attributes(nil))
	line := e.Told("pod/data", "FailedMount", "authentication failed")
	if strings.Contains(line, "not-the-secret") {
		t.Error("the event tells the secret")
	}
	a.chap(secret)
	e.Ready("data")
	e.Delete("pod/data")
	e.Delete("persistentvolumeclaim/data")
}
