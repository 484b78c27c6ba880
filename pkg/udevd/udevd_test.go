package udevd

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// message is what systemd 252's udevd sends (device-monitor.c, monitor_netlink_header).
func message(props ...string) []byte {
	text := strings.Join(props, "\x00") + "\x00"
	b := append([]byte("libudev\x00"), 0xfe, 0xed, 0xca, 0xfe)
	for _, n := range []uint32{40, 40, uint32(len(text)), 0, 0, 0, 0} {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return append(b, text...)
}

func TestRemovedDevice(t *testing.T) {
	removed := []string{
		"ACTION=remove", "DEVPATH=/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sdb",
		"SUBSYSTEM=block", "DEVNAME=/dev/sdb", "DEVTYPE=disk", "SEQNUM=1234",
	}
	for _, c := range []struct {
		name string
		msg  []byte
		want string
	}{
		{"a disk", message(removed...), "sdb"},
		{"added", message(append([]string{"ACTION=add"}, removed[1:]...)...), ""},
		{"no block device", message("ACTION=remove", "SUBSYSTEM=scsi", "DEVNAME=/dev/sg0"), ""},
		{"the kernel's form", []byte("remove@/devices/x\x00ACTION=remove\x00SUBSYSTEM=block\x00DEVNAME=sdb\x00"), ""},
		{"cut short", message(removed...)[:60], ""},
		{"empty", nil, ""},
	} {
		got, ok := removedDevice(c.msg)
		if ok != (c.want != "") || (ok && got != c.want) {
			t.Errorf("%s: %q %v", c.name, got, ok)
		}
	}
}

func FuzzRemovedDevice(f *testing.F) {
	f.Add(message("ACTION=remove", "SUBSYSTEM=block", "DEVNAME=/dev/sdb"))
	f.Fuzz(func(_ *testing.T, msg []byte) { _, _ = removedDevice(msg) })
}

func TestExpectRemoval(t *testing.T) {
	u := &Listener{waiting: map[string][]chan struct{}{}}
	one, two, other := u.ExpectRemoval("sdb"), u.ExpectRemoval("sdb"), u.ExpectRemoval("sdc")
	u.removed("sdb")
	<-one
	<-two
	select {
	case <-other:
		t.Error("sdc was not removed")
	default:
	}
	var none *Listener
	if none.ExpectRemoval("sdb") != nil {
		t.Error("who hears nothing promises something")
	}
	none.Close()
}

func TestProperty(t *testing.T) {
	dir := t.TempDir()
	record := "S:disk/by-id/wwn-0x6001405a030461e0\nI:155281562\nE:ID_SERIAL=36001405a030461e0039581c116e87c45\nE:ID_SERIAL_SHORT=6001405a\nG:systemd\n"
	if err := os.WriteFile(filepath.Join(dir, "b8:64"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		minor     uint32
		key, want string
	}{
		{64, "ID_SERIAL", "36001405a030461e0039581c116e87c45"},
		{64, "ID_SERIAL_SHORT", "6001405a"},
		{64, "ID_WWN", ""},
		{80, "ID_SERIAL", ""},
	} {
		if got := Property(dir, 8, c.minor, c.key); got != c.want {
			t.Errorf("%s of 8:%d: %q", c.key, c.minor, got)
		}
	}
}
