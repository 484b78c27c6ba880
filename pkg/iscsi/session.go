package iscsi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Login opens the session of a node record. It returns when the target accepted it, or with an error that wraps one of
// ErrAuth, ErrUnreachable, ErrTimeout, ErrRefused, ErrNotReady, ErrNoRecord. Success, too, when the session exists
// already; its state is then whatever it is. When ctx ends, iscsid finishes the attempt by itself. One program is
// started; logins to different portals and interfaces may run at once.
//
// iscsid repeats what might pass until Timers.Login is over: a closed port, or a target that LIO does not know, ends as
// ErrTimeout then. Probe tells a dead portal at once.
func (c *Client) Login(ctx context.Context, id NodeID) error {
	if err := checkID(id); err != nil {
		return wrap("login", NodeID{}, err)
	}
	_, err := c.host.Run(ctx, nil, "iscsiadm", "-m", "node", "-T", id.Target, "-p", id.Portal.String(),
		"-I", IfaceName(id.Interface), "--login")
	if err != nil && exitCode(err) != exitSessionExists {
		return wrap("login", id, c.explain(id, classify(err)))
	}
	return wrap("settle node record", id, c.settle(id))
}

// explain looks into the record for why a login may have been refused. The portal group tag there may be of a target
// that has changed since: the next login takes the target's. And ErrAuth is added where the record asks the target to
// prove itself: iscsid gives the same code to a target that fails to as to one that declines for any other reason.
func (c *Client) explain(id NodeID, err error) error {
	if !errors.Is(err, ErrRefused) {
		return err
	}
	mutual := false
	updateErr := c.updateNode(id, func(file string, data []byte) error {
		mutual = bytes.Contains(data, []byte("\nnode.session.auth.username_in = "))
		return ensureFile(filepath.Dir(filepath.Dir(file)), file, withTag(data, unknownTag))
	})
	if mutual {
		err = fmt.Errorf("the target declined, or does not know the mutual CHAP secret (%w): %w", ErrAuth, err)
	}
	return errors.Join(err, updateErr)
}

// settle moves the record to the directory of the portal group tag that the target gave at login: after a restart
// iscsid looks there for the timers of the session. Tags that are unknown do not survive an update by iscsiadm.
func (c *Client) settle(id NodeID) error {
	s, err := c.findSession(id)
	if err != nil {
		return err
	}
	tag, err := strconv.Atoi(s.tag)
	if err != nil || tag < 0 || tag > maxTag {
		return nil //nolint:nilerr // the kernel knows no tag
	}
	return c.updateNode(id, func(file string, data []byte) error {
		target := filepath.Dir(filepath.Dir(file))
		settled := filepath.Join(target, portalDir(id.Portal, tag), IfaceName(id.Interface))
		if err := os.MkdirAll(filepath.Dir(settled), 0o700); err != nil {
			return err
		}
		if err := ensureFile(target, settled, withTag(data, tag)); err != nil || settled == file {
			return err
		}
		err := removeFile(file)
		removeEmpty(filepath.Dir(file))
		return err
	})
}

// updateNode calls fn with a record's file and content, if there is one.
func (c *Client) updateNode(id NodeID, fn func(file string, data []byte) error) error {
	return c.inDB(func(root string) error {
		files, err := nodeFiles(root, id)
		if err != nil || len(files) == 0 {
			return err
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		return fn(files[0], data)
	})
}

// Logout closes a session by its number, after a check that the session of that number is the one of id; else it
// touches nothing and the error wraps ErrNotOurs. Success when there is no such session any more. The caller sees to
// it that no map needs the session: its disks vanish with it. ErrBusy while iscsid makes the connection anew.
func (c *Client) Logout(ctx context.Context, session int, id NodeID) error {
	if err := checkID(id); err != nil {
		return wrap("logout", NodeID{}, err)
	}
	return wrap("logout", id, c.logout(ctx, session, id))
}

func (c *Client) logout(ctx context.Context, session int, id NodeID) error {
	s, err := c.readSession("session" + strconv.Itoa(session))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.iface != IfaceName(id.Interface) || s.target != id.Target || s.portal != id.Portal {
		return fmt.Errorf("%w: session %d is of iface %q, target %q at %s", ErrNotOurs, session, s.iface, s.target, s.portal)
	}
	if err := c.restoreIface(id.Interface, s); err != nil {
		return err
	}
	_, err = c.host.Run(ctx, nil, "iscsiadm", "-m", "session", "-r", strconv.Itoa(session), "--logout")
	if code := exitCode(err); code == exitSessionNotFound || code == exitNoObjects {
		return nil
	}
	return logoutError(err)
}

// logoutError is classify for logouts, of which the same code may mean another thing.
func logoutError(err error) error {
	switch exitCode(err) {
	case exitInternal, exitBusy, exitSessionNotConnected:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	default:
		return classify(err)
	}
}

// restoreIface writes an iface record that somebody deleted: without it iscsiadm refuses to log the session out.
func (c *Client) restoreIface(iface string, s session) error {
	return c.inDB(func(root string) error {
		path := filepath.Join(root, "ifaces", IfaceName(iface))
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		data, err := ifaceRecord(Iface{Interface: iface, NIC: s.nic, Initiator: s.initiator})
		if err != nil {
			return err
		}
		return writeIface(root, iface, data)
	})
}

// session is what identifies a session in the kernel.
type session struct {
	iface, target, tag, initiator, nic string
	portal                             netip.AddrPort
}

// readSession reads sessionN; fs.ErrNotExist when there is none.
func (c *Client) readSession(name string) (session, error) {
	dir := filepath.Join(c.sys, "class", "iscsi_session", name)
	target, err := attribute(dir, "targetname")
	if err != nil {
		return session{}, err
	}
	var s session
	s.target = target
	s.iface, _ = attribute(dir, "ifacename")
	s.tag, _ = attribute(dir, "tpgt")
	s.initiator, _ = attribute(dir, "initiatorname")
	connection := filepath.Join(c.sys, "class", "iscsi_connection", "connection"+strings.TrimPrefix(name, "session")+":0")
	address, _ := attribute(connection, "persistent_address")
	port, _ := attribute(connection, "persistent_port")
	s.portal = parseConnection(address, port)
	s.nic = sessionNIC(dir)
	return s, nil
}

// sessionNIC finds .../host3/iscsi_host/host3/netdev from .../host3/session7/iscsi_session/session7; empty when it cannot.
func sessionNIC(dir string) string {
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return ""
	}
	host := filepath.Dir(device)
	nic, err := attribute(filepath.Join(host, "iscsi_host", filepath.Base(host)), "netdev")
	if err != nil {
		return ""
	}
	return nic
}

// parseConnection gives the zero value for what is no address.
func parseConnection(address, port string) netip.AddrPort {
	addr, err := netip.ParseAddr(address)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n))
}

// findSession looks for the session of a record; the zero value when there is none.
func (c *Client) findSession(id NodeID) (session, error) {
	class := filepath.Join(c.sys, "class", "iscsi_session")
	names, err := readDir(class)
	if err != nil {
		return session{}, err
	}
	for _, name := range names {
		if iface, err := attribute(filepath.Join(class, name), "ifacename"); err != nil || iface != IfaceName(id.Interface) {
			continue
		}
		s, err := c.readSession(name)
		if err == nil && s.target == id.Target && s.portal == id.Portal {
			return s, nil
		}
	}
	return session{}, nil
}

// attribute reads a sysfs file.
func attribute(dir, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimRight(string(data), "\n"), err
}
