package nodeview

import (
	"slices"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/sysfs"
)

// TestBlocking drains interfaces of the example, whose volume has one path that works.
func TestBlocking(t *testing.T) {
	twice := func() Snapshot { // over a second interface the volume's other path works
		s := example()
		b := s.Interfaces.Interfaces[0]
		b.Name, b.NIC = "san-b", "eth3"
		s.Interfaces.Interfaces, s.Interfaces.Problems = append(s.Interfaces.Interfaces, b), nil
		s.Sessions[1].Iface, s.Sessions[1].NIC, s.Sessions[1].State = "pb-san-b", "eth3", sysfs.SessionLoggedIn
		s.Maps = slices.Clone(s.Maps)
		s.Maps[1].Paths[1].Active = true
		s.Records[0].Attachment.Interfaces = nil
		return s
	}
	for name, c := range map[string]struct {
		from   func() Snapshot
		change func(*Snapshot)
		drain  string
		want   string
	}{
		"the only interface":       {example, nil, "san-a", "it has no other interface to use"},
		"one that it does not use": {example, nil, "san-b", ""},
		"one of two":               {twice, nil, "san-a", ""},
		"the other has failed": {
			twice, func(s *Snapshot) { s.Maps[1].Paths[1].Active = false }, "san-a", "0 of its 2 other paths work, wanted are 1: san-b",
		},
		"too few others": {
			twice, func(s *Snapshot) { s.Records[0].Attachment.MinPaths = 4 }, "san-a", "1 of its 2 other paths work, wanted are 2: san-b",
		},
		"the other is drained": {
			twice, func(s *Snapshot) { s.Interfaces.Drained = []string{"san-b"} }, "san-a", "it has no other interface to use",
		},
		"its map is gone": {twice, func(s *Snapshot) { s.Maps, s.Disks = nil, nil }, "san-a", ""},
		"not staged now":  {example, func(s *Snapshot) { s.BootID = "later" }, "san-a", ""},
	} {
		s := c.from()
		if c.change != nil {
			c.change(&s)
		}
		got := ""
		for _, b := range s.Blocking(c.drain) {
			got += b.Reason
		}
		if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q", name, got)
		}
	}
	s := twice()
	if sessions, disks := s.Over("san-a"); sessions != 1 || disks != 1 {
		t.Errorf("%d sessions, %d disks", sessions, disks)
	}
	if m := s.Missing("san-a"); len(m) != 1 || !strings.Contains(m[0].Reason, "no session") {
		t.Errorf("%v", m)
	}
}
