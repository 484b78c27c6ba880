package scsi

import "testing"

// twoGroups is what LIO answers for a unit with two groups besides its default one.
var twoGroups = []byte{
	0, 0, 0, 36,
	0x00, 0x0f, 0, 0, 0, 0, 0, 0,
	0x01, 0x0f, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1,
	0x80, 0x0f, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3,
}

func TestFindGroup(t *testing.T) {
	for _, c := range []struct {
		name   string
		data   []byte
		group  int
		want   Access
		absent bool
	}{
		{name: "first", data: twoGroups, group: 0, want: Access{State: Optimized}},
		{name: "after a group without ports", data: twoGroups, group: 1, want: Access{State: NonOptimized}},
		{name: "after a group with one", data: twoGroups, group: 2, want: Access{State: Optimized, Preferred: true}},
		{name: "another", data: twoGroups, group: 3, absent: true},
		{name: "cut off", data: twoGroups[:20], group: 2, absent: true},
		{name: "nothing", group: 0, absent: true},
		{name: "a length beyond the data", data: append([]byte{0xff, 0xff, 0xff, 0xff}, twoGroups[4:]...), group: 3, absent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := findGroup(c.data, c.group); got != c.want || ok == c.absent {
				t.Errorf("%+v, %v", got, ok)
			}
		})
	}
}

func TestPriority(t *testing.T) {
	order := []Access{
		{State: Unavailable},
		{State: Standby},
		{State: LBADependent},
		{State: NonOptimized},
		{State: Optimized},
		{State: NonOptimized, Preferred: true},
	}
	for i, better := range order[1:] {
		if order[i].Priority() >= better.Priority() {
			t.Errorf("%+v has %d, %+v %d", order[i], order[i].Priority(), better, better.Priority())
		}
	}
	if (Access{State: Optimized, Preferred: true}).Priority() != (Access{State: Optimized}).Priority() {
		t.Error("of two optimized groups one is better")
	}
}

func FuzzFindGroup(f *testing.F) {
	f.Add(twoGroups, 2)
	f.Fuzz(func(_ *testing.T, data []byte, group int) { findGroup(data, group) })
}
