package sysfs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// States of a session, as the kernel prints them (iscsi_session_state_names).
const (
	SessionLoggedIn = "LOGGED_IN"
	SessionFailed   = "FAILED"
	SessionFree     = "FREE"
)

// Session is one iSCSI session of this node.
type Session struct {
	// ID is the number in "session7", Host the one in "host3".
	ID, Host int
	// Target is the target's name, TPGT its portal group tag.
	Target string
	TPGT   int
	// Iface is the name of open-iscsi's iface record, Initiator the name that we logged in with.
	Iface     string
	Initiator string
	// NIC is the network device of the iface record; empty when the session is not bound to one.
	NIC string
	// State is one of the constants above.
	State string
	// RecoveryTimeout is in seconds how long commands wait for a lost session before they fail; 0 is at once.
	RecoveryTimeout int
	// NoopInterval and NoopTimeout are in seconds after what silence a NOP-Out is sent, and how long it may stay without an answer
	// before the session is lost. 0: it is never asked, or the kernel does not say.
	NoopInterval, NoopTimeout int
	// Portal is where the connection is now, the zero value when it has none; Persistent is where it was asked
	// to log in. They differ after a login redirect.
	Portal, Persistent netip.AddrPort
}

// LoggedIn says that commands can flow.
func (s Session) LoggedIn() bool { return s.State == SessionLoggedIn }

// Sessions lists all iSCSI sessions by ID, also those of others. A session is there as soon as iscsid has created it,
// before its login succeeded: see Session.State.
func (f FS) Sessions() ([]Session, error) {
	names, err := f.list("class", "iscsi_session")
	if err != nil {
		return nil, err
	}
	var sessions []Session
	for _, name := range names {
		id, ok := number(name, "session")
		if !ok {
			continue
		}
		s, err := f.Session(id)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	return sessions, nil
}

// Session reads one: ErrGone when there is none of that number.
func (f FS) Session(id int) (Session, error) {
	name := "session" + strconv.Itoa(id)
	host, err := f.sessionHost(name)
	if err != nil {
		return Session{}, err
	}
	r := reader{fs: f, dir: "class/iscsi_session/" + name}
	s := Session{
		ID: id, Host: host,
		Target: r.text("targetname"), TPGT: atoi(r.optional("tpgt")),
		Iface: r.optional("ifacename"), Initiator: r.optional("initiatorname"),
		State: r.text("state"), RecoveryTimeout: atoi(r.optional("recovery_tmo")),
	}
	s.NIC = f.hostNIC(host)
	s.Portal, s.Persistent = f.portals(id)
	conn := reader{fs: f, dir: fmt.Sprintf("class/iscsi_connection/connection%d:0", id)}
	s.NoopInterval, s.NoopTimeout = atoi(conn.optional("recv_tmo")), atoi(conn.optional("ping_tmo"))
	return s, r.err
}

// sessionHost finds the SCSI host above a session: .../host3/session1/iscsi_session/session1.
func (f FS) sessionHost(name string) (int, error) {
	path := f.path("class", "iscsi_session", name)
	device, err := os.Readlink(path)
	if err != nil {
		return 0, fail("resolve", path, err)
	}
	for part := range strings.SplitSeq(device, "/") {
		if host, ok := number(part, "host"); ok {
			return host, nil
		}
	}
	return 0, &Error{Op: "resolve", Path: path, Err: fmt.Errorf("%w: no SCSI host in %q", ErrFormat, device)}
}

// hostNIC is the device that iscsid told the kernel; "" for an unbound session, and where the kernel has none.
func (f FS) hostNIC(host int) string {
	r := reader{fs: f, dir: "class/iscsi_host/host" + strconv.Itoa(host)}
	return r.optional("netdev")
}

// portals reads the addresses of the session's only connection (open-iscsi makes one per session).
func (f FS) portals(id int) (current, persistent netip.AddrPort) {
	r := reader{fs: f, dir: fmt.Sprintf("class/iscsi_connection/connection%d:0", id)}
	return portal(r.optional("address"), r.optional("port")),
		portal(r.optional("persistent_address"), r.optional("persistent_port"))
}

// portal gives the zero value for what is no address: an unconnected session has none.
func portal(address, port string) netip.AddrPort {
	addr, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if err != nil {
		return netip.AddrPort{}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n))
}

// SetRecoveryTimeout writes recovery_tmo, in seconds. The kernel refuses it (EBUSY) while the session is FAILED.
func (f FS) SetRecoveryTimeout(session, seconds int) error {
	return f.write(strconv.Itoa(seconds), "class", "iscsi_session", "session"+strconv.Itoa(session), "recovery_tmo")
}
