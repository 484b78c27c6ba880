package lio

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// hba is the backstore directory that is ours. Other programs count from 0.
	hba = "core/iblock_1618"
	// link is the name of our symbolic links; the kernel lets us choose.
	link = "link"

	// Vendor is what a host's INQUIRY sees; with Product, multipath configurations match our LUNs by it.
	Vendor = "PORTBIND"
	// Product is the other half.
	Product = "thin-volume"

	// naa is what LIO puts before 25 digits of the serial to make the NAA identifier.
	naa = "naa.6001405"

	// MaxLUNs is how many LUNs one initiator can have.
	MaxLUNs = 255
	// FirstLUN is the number of the first. Not 0: while an initiator has no LUN 0, LIO answers there for a device of its own
	// (target_core_device.c, tpg_virt_lun0), whose reads succeed. One that has lost its volume must hear "logical unit not
	// supported", not zeros.
	FirstLUN = 1
	// maxTPGLUN bounds the LUNs of the target itself.
	maxTPGLUN = 1 << 16
)

// WWID is what Linux hosts print in device/wwid for a volume with that serial.
func WWID(serial string) string { return naa + serial }

// Config is the target of this host.
type Config struct {
	IQN     string
	Portals []netip.AddrPort
	// CHAPRequired refuses initiators without credentials.
	CHAPRequired bool
}

// Target is the one iSCSI target of this host. Methods are idempotent and safe for concurrent use, except that
// calls for one volume must not overlap.
type Target struct {
	tree Tree
	cfg  Config
	tpg  string
	// kickAfter is how long a fence waits before it drops the initiator's sessions.
	kickAfter time.Duration

	mu   sync.Mutex
	acls map[string]*sync.Mutex
}

// kickAfter is above LIO's data-out timeout (dataout_timeout, 3 s), which ends most waits by itself and disturbs
// one connection only.
const kickAfter = 5 * time.Second

// New gives the target. Nothing is done yet.
func New(tree Tree, cfg Config) *Target {
	return &Target{
		tree: tree, cfg: cfg, tpg: "iscsi/" + cfg.IQN + "/tpgt_1", kickAfter: kickAfter, acls: map[string]*sync.Mutex{},
	}
}

// Exists says whether a target of that name is in the kernel.
func (t *Target) Exists() (bool, error) { return t.tree.Exists("iscsi/" + t.cfg.IQN) }

// Prepare makes the target and sets its attributes. It stays, or becomes, reachable with Enable only.
func (t *Target) Prepare() error {
	for _, dir := range []string{"iscsi", hba, "iscsi/" + t.cfg.IQN, t.tpg} {
		if err := t.tree.Mkdir(dir); err != nil {
			return fmt.Errorf("prepare target: %w", err)
		}
	}
	auth, err := t.authentication()
	if err != nil {
		return fmt.Errorf("prepare target: %w", err)
	}
	for _, a := range []struct{ name, value string }{
		{"authentication", auth},
		// With these two, hosts without an ACL would be let in, and CHAP not be enforced.
		{"generate_node_acls", "0"},
		{"cache_dynamic_acls", "0"},
		{"demo_mode_write_protect", "1"},
		// Hosts without an ACL do not learn the target's name either.
		{"demo_mode_discovery", "0"},
		// A LUN is read-only until it is said not to be.
		{"prod_mode_write_protect", "1"},
	} {
		if err := t.set(t.tpg+"/attrib/"+a.name, a.value); err != nil {
			return fmt.Errorf("prepare target: %w", err)
		}
	}
	return nil
}

// authentication is the TPG's: 1, and ACLs say when it does not hold for them. Kernels before 6.0 have no such
// attribute of ACLs; there, only chap: required can be enforced.
func (t *Target) authentication() (string, error) {
	if t.cfg.CHAPRequired {
		return "1", nil
	}
	perACL, err := t.perACLAuthentication()
	if err != nil || perACL {
		return "1", err
	}
	return "0", nil
}

// probeACL is made for a moment to see what this kernel's ACLs have.
const probeACL = "iqn.2026-11.io.portbind:probe"

func (t *Target) perACLAuthentication() (bool, error) {
	acl := t.acl(probeACL)
	if err := t.tree.Mkdir(acl); err != nil {
		return false, err
	}
	found, err := t.tree.Exists(acl + "/attrib/authentication")
	if rm := t.tree.Rmdir(acl); err == nil {
		err = rm
	}
	return found, err
}

// Enable opens the target to initiators: portals first, so that all of them answer when it is open. Portals that
// are not configured any more are closed, with the sessions through them.
func (t *Target) Enable(ctx context.Context) error {
	if err := t.portals(ctx); err != nil {
		return fmt.Errorf("portals: %w", err)
	}
	if err := t.set(t.tpg+"/enable", "1"); err != nil {
		return fmt.Errorf("enable target: %w", err)
	}
	return nil
}

// portals makes np directories. The kernel listens in the network namespace of whoever makes them, and binds to
// addresses that the host does not have yet too (IP_FREEBIND).
func (t *Target) portals(ctx context.Context) error {
	want := map[string]bool{}
	for _, p := range t.cfg.Portals {
		want[p.String()] = true
	}
	have, err := t.tree.Dirs(t.tpg + "/np")
	if err != nil {
		return err
	}
	for _, name := range have {
		if !want[name] {
			klog.FromContext(ctx).Info("Closing a portal that is not configured any more", "portal", name)
			if err := t.tree.Rmdir(t.tpg + "/np/" + name); err != nil {
				return err
			}
		}
	}
	for _, p := range t.cfg.Portals {
		if slices.Contains(have, p.String()) {
			continue
		}
		if err := t.tree.Mkdir(t.tpg + "/np/" + p.String()); err != nil {
			return fmt.Errorf("portal %s (is something else listening there?): %w", p, err)
		}
	}
	return nil
}

// set writes an attribute unless it has the value already: some refuse to be written twice, or while in use.
func (t *Target) set(path, value string) error {
	if have, err := t.tree.Read(path); err == nil && have == value {
		return nil
	}
	return t.tree.Write(path, value)
}

// Sessions counts the sessions of the target.
func (t *Target) Sessions() (int, error) {
	s, err := t.tree.Read("iscsi/" + t.cfg.IQN + "/fabric_statistics/iscsi_instance/sessions")
	if err != nil {
		return 0, fmt.Errorf("count sessions: %w", err)
	}
	return strconv.Atoi(s)
}

// LUNs counts the LUNs of the target.
func (t *Target) LUNs() (int, error) {
	luns, err := t.tree.Dirs(t.tpg + "/lun")
	return len(luns), err
}

// luns gives the numbers of the directories lun_N in a directory.
func (t *Target) luns(dir string) ([]uint32, error) {
	names, err := t.tree.Dirs(dir)
	if err != nil {
		return nil, err
	}
	var found []uint32
	for _, name := range names {
		if n, ok := lunNumber(name); ok {
			found = append(found, n)
		}
	}
	return found, nil
}

func lunNumber(name string) (uint32, bool) {
	digits, ok := strings.CutPrefix(name, "lun_")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil
}
