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

	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

// tempPrefix begins the names of half-written files. They have no comma: iscsiadm passes over them.
const tempPrefix = ".portbind-"

// dbRoots are the places that distributions compile into iscsiadm.
var dbRoots = []string{"/etc/iscsi", "/var/lib/iscsi"}

// EnsureIface makes the iface record of an interface say what it should, be it missing, changed or for another NIC.
// It starts no program. Sessions that exist already stay as they are, on the NIC where they are.
func (c *Client) EnsureIface(_ context.Context, i Iface) error {
	data, err := ifaceRecord(i)
	if err != nil {
		return wrap("write iface record", NodeID{}, err)
	}
	err = c.inDB(func(root string) error { return writeIface(root, i.Interface, data) })
	return wrap("write iface record "+IfaceName(i.Interface), NodeID{}, err)
}

func writeIface(root, iface string, data []byte) error {
	path := filepath.Join(root, "ifaces", IfaceName(iface))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// The half-written file is not in ifaces: iscsiadm takes every file there for an iface.
	return ensureFile(root, path, data)
}

// EnsureNode makes the node record say what it should, without discovery and without a program; the CHAP secret is in
// the file only, which none but root can read. A session that exists already keeps what it logged in with.
func (c *Client) EnsureNode(_ context.Context, n Node) error {
	if err := errors.Join(checkID(n.ID()), checkIface(n.Iface)); err != nil {
		return wrap("write node record", NodeID{}, err)
	}
	err := c.inDB(func(root string) error {
		tuned, err := c.tuning()
		if err != nil {
			return err
		}
		return writeNode(root, n, tuned)
	})
	return wrap("write node record", n.ID(), err)
}

// writeNode puts the record where it is already, or in the directory of firstTag, and removes any second one: iscsiadm
// would log in once for each.
func writeNode(root string, n Node, tuned []setting) error {
	id := n.ID()
	target := filepath.Join(root, "nodes", id.Target)
	existing, err := nodeFiles(root, id)
	if err != nil {
		return err
	}
	if len(existing) == 0 {
		existing = []string{filepath.Join(target, portalDir(id.Portal, firstTag), IfaceName(id.Interface))}
	}
	if n.KeepCHAP {
		n.CHAP = recordedCHAP(existing[0])
	}
	data, err := nodeRecord(n, settledTag(existing[0]), tuned)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(existing[0]), 0o700); err != nil {
		return err
	}
	for _, extra := range existing[1:] {
		if err := os.Remove(extra); err != nil {
			return err
		}
	}
	return errors.Join(removeUntagged(target, id), ensureFile(target, existing[0], data))
}

// KeepTimers has a node record name these timers, and leaves the rest of it as it is. Without a record there is nothing to do. A
// session that exists already keeps what it logged in with: see KeepNoop.
func (c *Client) KeepTimers(_ context.Context, id NodeID, t Timers) error {
	if err := checkID(id); err != nil {
		return wrap("write timers", NodeID{}, err)
	}
	err := c.inDB(func(root string) error {
		files, err := nodeFiles(root, id)
		for _, file := range files {
			data, readErr := os.ReadFile(file)
			if readErr == nil {
				readErr = ensureFile(filepath.Join(root, "nodes", id.Target), file, withTimers(data, t))
			}
			err = errors.Join(err, readErr)
		}
		return err
	})
	return wrap("write timers", id, err)
}

// RecordedCHAP gives what a node record logs in with; nil when it says nothing of it. ErrNoRecord when there is none.
func (c *Client) RecordedCHAP(_ context.Context, id NodeID) (chap *CHAP, err error) {
	err = c.inDB(func(root string) error {
		files, err := nodeFiles(root, id)
		if err == nil && len(files) == 0 {
			err = ErrNoRecord
		}
		if err == nil {
			chap = recordedCHAP(files[0])
		}
		return err
	})
	return chap, wrap("read node record", id, err)
}

// recordedCHAP reads the secrets of a record; nil when it has none, or is not readable any more.
func recordedCHAP(file string) *CHAP {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, "="); ok {
			values[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	auth := func(key string) string { return values["node.session.auth."+key] }
	c := CHAP{User: auth("username"), Secret: auth("password"), TargetUser: auth("username_in"), TargetSecret: auth("password_in")}
	if c.User == "" || c.Secret == "" {
		return nil
	}
	return &c
}

// settledTag is the tag that a login put into a record and its directory's name; unknownTag when they differ.
func settledTag(file string) int {
	data, err := os.ReadFile(file)
	_, dirTag, ok := parsePortalDir(filepath.Base(filepath.Dir(file)))
	if err != nil || !ok || recordTag(data) != dirTag {
		return unknownTag
	}
	return dirTag
}

// removeUntagged removes the file, in the place of a directory, that iscsiadm makes when it updates a record of ours
// whose tag is unknown. It holds one iface only; another's is left alone.
func removeUntagged(target string, id NodeID) error {
	path := filepath.Join(target, fmt.Sprintf("%s,%d", id.Portal.Addr(), id.Portal.Port()))
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // there is none
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte("\niface.iscsi_ifacename = "+IfaceName(id.Interface)+"\n")) {
		return nil
	}
	return removeFile(path)
}

// nodeFiles finds the record's file in the directories of any portal group tag.
func nodeFiles(root string, id NodeID) ([]string, error) {
	target := filepath.Join(root, "nodes", id.Target)
	entries, err := readDir(target)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		portal, _, ok := parsePortalDir(entry)
		if !ok || portal != id.Portal {
			continue
		}
		file := filepath.Join(target, entry, IfaceName(id.Interface))
		if _, err := os.Lstat(file); err == nil {
			files = append(files, file)
		}
	}
	return files, nil
}

// parsePortalDir reads "address,port,tag".
func parsePortalDir(name string) (portal netip.AddrPort, tag int, ok bool) {
	parts := strings.Split(name, ",")
	if len(parts) != 3 {
		return netip.AddrPort{}, 0, false
	}
	addr, err := netip.ParseAddr(parts[0])
	port, errPort := strconv.ParseUint(parts[1], 10, 16)
	tag, errTag := strconv.Atoi(parts[2])
	if err != nil || errPort != nil || errTag != nil || tag < 0 || tag > maxTag {
		return netip.AddrPort{}, 0, false
	}
	return netip.AddrPortFrom(addr, uint16(port)), tag, true
}

// RemoveNode removes a node record, and the directories that it leaves empty; success when there is none. A session
// that still exists is not affected, but iscsid would reopen it with default timers after a restart.
func (c *Client) RemoveNode(_ context.Context, id NodeID) error {
	if err := checkID(id); err != nil {
		return wrap("remove node record", NodeID{}, err)
	}
	err := c.inDB(func(root string) error {
		files, err := nodeFiles(root, id)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := removeFile(file); err != nil {
				return err
			}
			removeEmpty(filepath.Dir(file))
		}
		target := filepath.Join(root, "nodes", id.Target)
		err = removeUntagged(target, id)
		removeEmpty(target)
		return err
	})
	return wrap("remove node record", id, err)
}

// RemoveIface removes the iface record of an interface; success when there is none. iscsiadm can no longer log out
// sessions of it then, other than through Logout.
func (c *Client) RemoveIface(_ context.Context, iface string) error {
	if !interfacePattern.MatchString(iface) {
		return wrap("remove iface record", NodeID{}, fmt.Errorf("%w interface name %.64q", ErrInvalid, iface))
	}
	err := c.inDB(func(root string) error { return removeFile(filepath.Join(root, "ifaces", IfaceName(iface))) })
	return wrap("remove iface record "+IfaceName(iface), NodeID{}, err)
}

// Nodes lists our node records, by target, portal and interface. Records of others are left out.
func (c *Client) Nodes(_ context.Context) ([]NodeID, error) {
	var nodes []NodeID
	err := c.inDB(func(root string) error {
		targets, err := readDir(filepath.Join(root, "nodes"))
		for _, target := range targets {
			if name, nameErr := iscsiname.Parse(target); nameErr != nil || name != target {
				continue
			}
			found, targetErr := targetNodes(root, target)
			nodes = append(nodes, found...)
			err = errors.Join(err, targetErr)
		}
		return err
	})
	return nodes, wrap("list node records", NodeID{}, err)
}

// targetNodes is Nodes for one target.
func targetNodes(root, target string) ([]NodeID, error) {
	dir := filepath.Join(root, "nodes", target)
	entries, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	var nodes []NodeID
	for _, entry := range entries {
		portal, _, ok := parsePortalDir(entry)
		if !ok {
			continue
		}
		files, err := readDir(filepath.Join(dir, entry))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			id := NodeID{Target: target, Portal: portal}
			if id.Interface, ok = InterfaceOf(file); ok && checkID(id) == nil {
				nodes = append(nodes, id)
			}
		}
	}
	return nodes, nil
}

// inDB calls fn with the host's files in view and the root of the data base, one call at a time.
func (c *Client) inDB(fn func(root string) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host.InHost(func() error {
		if c.dbRoot == "" {
			root, err := findRoot()
			if err != nil {
				return err
			}
			c.dbRoot = root
		}
		return fn(c.dbRoot)
	})
}

// findRoot learns from the program itself where its records are: distributions differ, after an upgrade both places
// may exist, and there is no option that prints it.
func findRoot() (string, error) {
	path, err := hostexec.LookPath("iscsiadm")
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrNotReady, hostexec.InstallHint("iscsiadm"))
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for _, root := range dbRoots {
		if bytes.Contains(program, []byte(root+"/nodes")) {
			return root, nil
		}
	}
	return "", fmt.Errorf("%w: %s has its records in none of %s", ErrNotReady, path, strings.Join(dbRoots, ", "))
}

// ensureFile makes a file have the content and mode 0600, all at once for any reader. tempDir is on the same file
// system. Nothing is synced: after a crash of the host no session uses the record, and it is compared before the next.
func ensureFile(tempDir, path string, data []byte) error {
	if info, err := os.Lstat(path); err == nil && info.Mode() == 0o600 {
		if current, err := os.ReadFile(path); err == nil && bytes.Equal(current, data) {
			return nil
		}
	}
	temp, err := os.CreateTemp(tempDir, tempPrefix+"*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, removeFile(temp.Name()))
	}
	return err
}

func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmpty removes a directory if nothing but our own half-written files, left by a crash, is in it.
func removeEmpty(dir string) {
	names, err := readDir(dir)
	if err != nil {
		return
	}
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
	_ = os.Remove(dir) // fails when it is not empty
}

// readDir gives the sorted names; none when there is no directory.
func readDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

// wrap makes an *Error of err, nil of nil.
func wrap(op string, id NodeID, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Node: id, Err: err}
}
