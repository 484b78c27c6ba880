//go:build lab

package labenv

import (
	"fmt"
	"os"
	"strings"
)

// Redirector is a portal that answers every login with another portal's address: Debian's tgtd, on the target host.
type Redirector struct {
	Address string
	control string // port of tgtd's management channel
	e       *Env
}

// Redirector starts one of a target, on an address that it adds to a fabric of the network. One in each fabric.
func (e *Env) Redirector(iqn string, fabric int, address string) *Redirector {
	e.T.Helper()
	r := &Redirector{Address: address, control: fmt.Sprint(1 + fabric), e: e}
	e.InTarget("ip", "addr", "add", address+"/24", "dev", fmt.Sprintf("br%d", fabric))
	socket := "/run/tgtd/socket." + r.control
	e.T.Cleanup(func() { _ = os.Remove(socket) })
	e.must(os.MkdirAll("/run/tgtd", 0o700))
	d := e.Daemon("tgtd-"+r.control, func() bool { _, err := os.Stat(socket); return err == nil },
		"nsenter", "--net="+targetNS, "tgtd", "-f", "-C", r.control, "--iscsi", "portal="+address+":3260")
	e.T.Cleanup(d.Kill) // it does not heed SIGTERM
	r.admin("--op new --mode target --tid 1 -T " + iqn)
	r.admin("--op bind --mode target --tid 1 -I ALL")
	return r
}

// To sends the next logins to a portal, for the time being.
func (r *Redirector) To(portal string) {
	r.e.T.Helper()
	for _, kv := range []string{"RedirectAddress " + portal, "RedirectPort 3260", "RedirectReason Temporary"} {
		name, value, _ := strings.Cut(kv, " ")
		r.admin("--op update --mode target --tid 1 --name " + name + " --value " + value)
	}
}

func (r *Redirector) admin(command string) {
	r.e.T.Helper()
	r.e.Run(append([]string{"tgtadm", "-C", r.control, "--lld", "iscsi"}, strings.Fields(command)...)...)
}
