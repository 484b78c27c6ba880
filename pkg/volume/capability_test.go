package volume

import (
	"strings"
	"testing"
)

func TestCapabilityModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode                           AccessMode
		mount, block, shared, readOnly bool
	}{
		{SingleNodeWriter, true, true, false, false},
		{SingleNodeReaderOnly, true, true, false, true},
		{SingleNodeSingleWriter, true, true, false, false},
		{SingleNodeMultiWriter, true, true, false, false},
		{MultiNodeReaderOnly, true, true, true, true},
		{MultiNodeSingleWriter, false, true, true, false},
		{MultiNodeMultiWriter, false, true, true, false},
		{AccessUnknown, false, false, false, false},
		{AccessMode(99), false, false, false, false},
	} {
		mount, block := Capability{Mode: c.mode}, Capability{Mode: c.mode, Block: true}
		if (mount.Check() == nil) != c.mount || (block.Check() == nil) != c.block {
			t.Errorf("mode %d: mount %v, block %v", c.mode, mount.Check(), block.Check())
		}
		if mount.Shared() != c.shared || mount.ReadOnly() != c.readOnly {
			t.Errorf("mode %d: shared %v, read-only %v", c.mode, mount.Shared(), mount.ReadOnly())
		}
	}
}

func TestMountOptions(t *testing.T) {
	t.Parallel()
	good := []string{
		"noatime", "commit=30", `context="system_u:object_r:container_file_t:s0:c1,c2"`,
		"data=ordered", "ro", "subvol=@home", "nodiscard",
	}
	if err := (Capability{Mode: SingleNodeWriter, MountOptions: good}).Check(); err != nil {
		t.Error(err)
	}
	bad := append([]string{"", "bind", "rbind", "remount", "loop=/dev/x", "move", "noatime,suid", `a"b`, "=x"}, without(hostile, "")...)
	for _, o := range bad {
		if o == "a'b" || o == "a;b" || o == "a/../b" {
			continue // Harmless: no shell sees it, and it names no file of ours.
		}
		err := Capability{Mode: SingleNodeWriter, MountOptions: []string{o}}.Check()
		wantRefused(t, "volume_capability.mount.mount_flags", o, err)
	}
	many := strings.Split(strings.Repeat("a ", 65), " ")
	wantRefused(t, "volume_capability.mount.mount_flags", "65", Capability{Mode: SingleNodeWriter, MountOptions: many}.Check())
}

func TestResolveFSType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ class, capability, want string }{
		{"", "", "ext4"},
		{"xfs", "", "xfs"},
		{"", "btrfs", "btrfs"},
		{"xfs", "xfs", "xfs"},
		{"xfs", "ext4", ""},
		{"", "ntfs", ""},
	} {
		got, err := ResolveFSType(c.class, c.capability)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("ResolveFSType(%q, %q) = %q, %v", c.class, c.capability, got, err)
		}
	}
}
