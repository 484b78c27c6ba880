package compliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
)

// machine is the settings of a node with two NICs as a distribution has them: "all eth2 eth3.7" of each.
func machine(t *testing.T) *Keeper {
	t.Helper()
	dir := proc(t, map[string]string{
		"all/rp_filter": "1", "all/arp_ignore": "0", "all/arp_announce": "0", "all/arp_filter": "0",
		"eth2/rp_filter": "0", "eth2/arp_ignore": "0", "eth2/arp_announce": "0", "eth2/arp_filter": "1",
		"eth3.7/rp_filter": "1", "eth3.7/arp_ignore": "2", "eth3.7/arp_announce": "0", "eth3.7/arp_filter": "1",
	})
	return &Keeper{Proc: dir, File: filepath.Join(t.TempDir(), "sysctls.json"), BootID: "boot-1", Manage: true}
}

// values are a NIC's own rp_filter, arp_ignore, arp_announce and arp_filter.
func (k *Keeper) values(t *testing.T, nic string) string {
	t.Helper()
	var all []string
	for _, key := range []string{"rp_filter", "arp_ignore", "arp_announce", "arp_filter"} {
		raw, err := os.ReadFile(sysctlPath(k.Proc, nic, key))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(raw)))
	}
	return strings.Join(all, " ")
}

func (k *Keeper) apply(t *testing.T, s Snapshot, change bool) {
	t.Helper()
	changed, err := k.Apply(t.Context(), s)
	if err != nil || changed != change {
		t.Errorf("changed: %v, %v", changed, err)
	}
}

func (k *Keeper) want(t *testing.T, eth2, eth3 string) {
	t.Helper()
	if diff := cmp.Diff([]string{eth2, eth3}, []string{k.values(t, "eth2"), k.values(t, "eth3.7")}); diff != "" {
		t.Error(diff)
	}
}

// indexed gives the NICs of a snapshot their indices, and has them filter ARP as those of machine do.
func indexed(s Snapshot) Snapshot {
	s.Sysctls = map[string]Sysctls{"eth2": {1, 0, 0, 1}, "eth3.7": {1, 2, 0, 1}}
	s.configure(func(nics []binding.NIC) {
		for i := range nics {
			nics[i].Index = i + 1
		}
	})
	return s
}

const (
	asWas2, asWas3 = "0 0 0 1", "1 2 0 1"
	// With arp_filter eth2 answers for its own address, eth3.7 would not.
	set2, set3 = "2 1 2 1", "2 2 2 0"
)

func TestSysctlsAreSetAndPutBack(t *testing.T) {
	k, s := machine(t), indexed(good())
	k.apply(t, s, true)
	k.want(t, set2, set3)
	k.apply(t, s, false)
	info, err := os.Stat(k.File)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// Somebody sets one back: what was there first is still known.
	if err := k.write("eth2", "arp_ignore", 0); err != nil {
		t.Fatal(err)
	}
	k.apply(t, s, true)
	k.want(t, set2, set3)
	// One is taken out of the configuration; the other stays as long as it is there, neighbour or not.
	s.configure(nil, binding.InterfaceConfig{Name: "san-a", NetDev: "eth2"})
	k.apply(t, s, true)
	k.want(t, set2, asWas3)
	s.configure(func(nics []binding.NIC) { nics[2].Addrs = nil }, binding.InterfaceConfig{Name: "san-a", NetDev: "eth2"})
	k.apply(t, s, false)
	k.want(t, set2, asWas3)
	// A new process, told not to manage any more.
	k.Manage = false
	k.apply(t, s, true)
	k.want(t, asWas2, asWas3)
	if _, err := os.Stat(k.File); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	k.apply(t, s, false)
}

func TestSysctlsOfOthers(t *testing.T) {
	k, s := machine(t), indexed(good())
	k.apply(t, s, true)
	// The administrator has set it to something else: it stays.
	if err := k.write("eth2", "arp_announce", 1); err != nil {
		t.Fatal(err)
	}
	k.Manage = false
	k.apply(t, s, true)
	k.want(t, "0 0 1 1", asWas3)

	// No shared subnet: nothing to set.
	k.Manage = true
	s.configure(func(nics []binding.NIC) { nics[2].Addrs = prefixes("198.51.100.12/24") })
	k.apply(t, s, false)
	k.want(t, "0 0 1 1", asWas3)
}

// After a reboot the kernel has its own values again; what the file says is of no use.
func TestSysctlsAfterReboot(t *testing.T) {
	k, s := machine(t), indexed(good())
	k.apply(t, s, true)
	k.BootID, k.Manage = "boot-2", false
	k.apply(t, s, false)
	k.want(t, set2, set3)
}

// A NIC is known by its index: renamed it is still the same, and one that was made anew is another.
func TestSysctlsOfNewNIC(t *testing.T) {
	k, s := machine(t), indexed(good())
	k.apply(t, s, true)
	for _, key := range []string{"rp_filter", "arp_ignore", "arp_announce"} { // made anew, with the kernel's values
		if err := k.write("eth2", key, 0); err != nil {
			t.Fatal(err)
		}
	}
	s.configure(func(nics []binding.NIC) { nics[1].Index = 77 })
	k.apply(t, s, true)
	k.want(t, set2, set3)
	if err := os.Rename(filepath.Dir(sysctlPath(k.Proc, "eth2", "x")), filepath.Dir(sysctlPath(k.Proc, "ens2", "x"))); err != nil {
		t.Fatal(err)
	}
	s.configure(func(nics []binding.NIC) { nics[1].Name = "ens2" }, binding.InterfaceConfig{Name: "b", NetDev: "eth3.7"})
	k.apply(t, s, true)
	if got := k.values(t, "ens2"); got != asWas2 {
		t.Errorf("got %s", got)
	}
}

// The plugin dies between any two steps; the next one puts everything back.
func TestSysctlsAfterCrash(t *testing.T) {
	k, s := machine(t), indexed(good())
	k.apply(t, s, true)
	// It had remembered, and not yet set all.
	if err := k.write("eth2", "arp_ignore", 0); err != nil {
		t.Fatal(err)
	}
	k.Manage = false
	k.apply(t, s, true)
	k.want(t, asWas2, asWas3)
	// It had put back, and not yet forgotten.
	k.Manage = true
	k.apply(t, s, true)
	raw, err := os.ReadFile(k.File)
	if err != nil {
		t.Fatal(err)
	}
	k.Manage = false
	k.apply(t, s, true)
	if err := os.WriteFile(k.File, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	k.apply(t, s, true)
	k.want(t, asWas2, asWas3)

	if err := os.WriteFile(k.File, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Apply(t.Context(), s); err == nil {
		t.Error("half a file is no error")
	}
}

func TestSysctlsCannotBeRemembered(t *testing.T) {
	k, s := machine(t), indexed(good())
	k.File = filepath.Join(k.File, "no", "such")
	if changed, err := k.Apply(t.Context(), s); err == nil || changed {
		t.Errorf("got %v, %v", changed, err)
	}
	k.want(t, asWas2, asWas3)
}
