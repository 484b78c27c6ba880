package clusterenv

import "testing"

func TestPaths(t *testing.T) {
	const status = `36001405aaaa: 0 2097152 multipath 2 0 0 0 2 1 A 0 2 2 8:0 A 0 0 1 8:16 F 3 0 1 E 0 1 2 8:32 A 0 0 1
36001405bbbb: 0 2097152 multipath 2 0 1 0 1 1 A 0 1 2 65:16 F 1 0 1
`
	if active, failed := paths(status); active != 2 || failed != 2 {
		t.Errorf("%d active, %d failed; want 2, 2", active, failed)
	}
	if n := failures(status); n != 4 {
		t.Errorf("%d failures; want 4", n)
	}
}
