//go:build lab

package labenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tgt is a target of Debian's tgtd, on the target host: an array that is not LIO.
type tgt struct {
	control string // port of its management channel
	e       *Env
}

// startTGT starts a tgtd with one target, open to every initiator, on one address.
func (e *Env) startTGT(control int, iqn, address string) *tgt {
	e.T.Helper()
	t := &tgt{control: fmt.Sprint(control), e: e}
	socket := "/run/tgtd/socket." + t.control
	e.T.Cleanup(func() { _ = os.Remove(socket) })
	e.must(os.MkdirAll("/run/tgtd", 0o700))
	d := e.Daemon("tgtd-"+t.control, func() bool { _, err := os.Stat(socket); return err == nil },
		"nsenter", "--net="+targetNS, "tgtd", "-f", "-C", t.control, "--iscsi", "portal="+address+":3260")
	e.T.Cleanup(d.Kill) // it does not heed SIGTERM
	t.admin("--op new --mode target --tid 1 -T " + iqn)
	t.admin("--op bind --mode target --tid 1 -I ALL")
	return t
}

func (t *tgt) admin(command string) {
	t.e.T.Helper()
	t.e.Run(append([]string{"tgtadm", "-C", t.control, "--lld", "iscsi"}, strings.Fields(command)...)...)
}

// PlainArray makes a target without ALUA, of a vendor that multipath's tables do not know, on all portal addresses. Its LUN 1 has
// a size in bytes.
func (e *Env) PlainArray(iqn string, size int64) {
	e.T.Helper()
	t := e.startTGT(1, iqn, e.Net.Portals[0])
	for _, p := range e.Net.Portals[1:] {
		t.admin("--op new --mode portal --param portal=" + p + ":3260")
	}
	file := filepath.Join(e.dir, "plain.img")
	e.must(os.WriteFile(file, nil, 0o600))
	e.must(os.Truncate(file, size))
	t.admin("--op new --mode logicalunit --tid 1 --lun 1 -b " + file)
}

// Redirector is a portal that answers every login with another portal's address.
type Redirector struct {
	Address string
	tgt     *tgt
}

// Redirector starts one of a target, on an address that it adds to a fabric of the network. One in each fabric.
func (e *Env) Redirector(iqn string, fabric int, address string) *Redirector {
	e.T.Helper()
	e.InTarget("ip", "addr", "add", address+"/24", "dev", fmt.Sprintf("br%d", fabric))
	return &Redirector{Address: address, tgt: e.startTGT(1+fabric, iqn, address)}
}

// To sends the next logins to a portal, for the time being.
func (r *Redirector) To(portal string) { r.tgt.e.T.Helper(); r.send(portal, "Temporary") }

// ForGood sends them there and says that the target has moved.
func (r *Redirector) ForGood(portal string) { r.tgt.e.T.Helper(); r.send(portal, "Permanent") }

func (r *Redirector) send(portal, reason string) {
	r.tgt.e.T.Helper()
	for _, kv := range []string{"RedirectAddress " + portal, "RedirectPort 3260", "RedirectReason " + reason} {
		name, value, _ := strings.Cut(kv, " ")
		r.tgt.admin("--op update --mode target --tid 1 --name " + name + " --value " + value)
	}
}
