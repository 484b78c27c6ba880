package sysfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestPortGroup(t *testing.T) {
	alua := []byte{0, 0, 5, 2, 31, 0x10}
	naa := []byte{1, 3, 0, 2, 0x60, 0x01}
	group7 := []byte{1, 0x15, 0, 4, 0, 0, 0, 7}
	page := func(designators ...[]byte) []byte {
		all := []byte{0, 0x83, 0, 0}
		for _, d := range designators {
			all = append(all, d...)
		}
		return all
	}
	for _, c := range []struct {
		name          string
		inquiry, page []byte
		group         int
		asymmetric    bool
		err           error
	}{
		{name: "a group", inquiry: alua, page: page(naa, group7), group: 7, asymmetric: true},
		{name: "not asymmetric", inquiry: []byte{0, 0, 5, 2, 31, 0}, page: page(naa, group7)},
		{name: "old target", inquiry: []byte{0, 0, 2}},
		{name: "no page", inquiry: alua},
		{name: "no group", inquiry: alua, page: page(naa), err: ErrFormat},
		{name: "cut off", inquiry: alua, page: page(naa, group7[:6]), err: ErrFormat},
		{name: "no disk", err: ErrGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "block", "sda", "device")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{"inquiry": c.inquiry, "vpd_pg83": c.page} {
				if data == nil {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			group, asymmetric, err := FS(root).PortGroup("sda")
			if group != c.group || asymmetric != c.asymmetric || !errors.Is(err, c.err) {
				t.Errorf("%d, %v, %v", group, asymmetric, err)
			}
		})
	}
}

func FuzzPortGroup(f *testing.F) {
	f.Add([]byte{0, 0x83, 0, 8, 1, 0x15, 0, 4, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, page []byte) {
		if group, ok := portGroup(page); ok && (group < 0 || group > 0xffff) {
			t.Errorf("group %d", group)
		}
	})
}
