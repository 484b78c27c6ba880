package attach

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/sysfs"
)

// What is known of maps does not outlive them, and a denial counts only while it is seen at each look.
func TestTakingsForget(t *testing.T) {
	maps := func(uuids ...string) (all []sysfs.Map) {
		for _, uuid := range uuids {
			all = append(all, sysfs.Map{UUID: uuid})
		}
		return all
	}
	since := time.Unix(1, 0)
	known := &takings{}
	for _, look := range []struct {
		maps     []sysfs.Map
		restored map[string]bool
	}{
		{maps("a", "b"), map[string]bool{}},
		{maps("a", "b"), map[string]bool{"a": true}},
		{maps("b"), map[string]bool{}},
		{maps("a", "b"), map[string]bool{"a": true}},
		{nil, map[string]bool{}},
	} {
		before := known.denied
		if diff := cmp.Diff(before, known.begin(look.maps)); diff != "" || len(known.denied) > 0 {
			t.Errorf("%v: denied before: %s, now %v", look.maps, diff, known.denied)
		}
		if diff := cmp.Diff(look.restored, known.restored); diff != "" {
			t.Errorf("%v: restored: %s", look.maps, diff)
		}
		known.denied["b"], known.restored["a"] = since, true
	}
}
