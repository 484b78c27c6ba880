package multipath

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sectionOf = "# Written by portbind-csi; changes are overwritten.\nmultipaths {\n\tmultipath {\n\t\twwid "

func TestRulesRender(t *testing.T) {
	for _, c := range []struct {
		rules Rules
		want  []string
	}{
		{Rules{Selector: "round-robin"}, []string{`path_selector "round-robin 0"`}},
		{Rules{NoPathRetry: "queue"}, []string{"no_path_retry queue"}},
		{Rules{NoPathRetry: "fail"}, []string{"no_path_retry fail"}},
		{Rules{NoPathRetry: "31s"}, []string{"no_path_retry 7"}},
		{Rules{Grouping: "multibus", NoPathRetry: "5s"}, []string{"path_grouping_policy multibus", "no_path_retry 1"}},
		{Rules{Grouping: "group_by_prio"}, []string{"path_grouping_policy group_by_prio", "prio alua"}},
		{
			Rules{Prefer: true, Preferred: []int{12, 3}},
			[]string{
				"path_grouping_policy group_by_prio", "prio weightedpath", `prio_args "hbtl ^(3|12): 50 .* 10"`, "failback immediate",
			},
		},
		{
			Rules{Prefer: true, Grouping: "failover", Selector: "queue-length", NoPathRetry: "1m0s"},
			[]string{
				"path_grouping_policy failover", `path_selector "queue-length 0"`, "prio weightedpath", `prio_args "hbtl .* 10"`,
				"failback immediate", "no_path_retry 12",
			},
		},
	} {
		got, err := c.rules.render(id1)
		want := sectionOf + id1 + "\n\t\t" + strings.Join(c.want, "\n\t\t") + "\n\t}\n}\n"
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%+v: %v (-want +got):\n%s", c.rules, err, diff)
		}
	}
}

func TestRulesRefused(t *testing.T) {
	for _, r := range []Rules{
		{Selector: "x"},
		{Selector: "round-robin 0\"\n"},
		{Grouping: "group_by_serial"},
		{Grouping: "multibus\n}"},
		{NoPathRetry: "12"},
		{NoPathRetry: "-1s"},
		{NoPathRetry: "fail\n}"},
	} {
		if text, err := r.render(id1); !errors.Is(err, ErrInput) {
			t.Errorf("%+v: %q, %v", r, text, err)
		}
	}
}

// TestPriorityArgs: libmultipath cuts longer arguments off in the middle.
func TestPriorityArgs(t *testing.T) {
	r := Rules{Prefer: true}
	for h := range 200 {
		r.Preferred = append(r.Preferred, 10000+h)
	}
	args := r.priorityArgs()
	if len(args) > maxPriorityArgs || len(args) < maxPriorityArgs-10 || !strings.HasSuffix(args, "): 50 .* 10") {
		t.Errorf("%d characters: %s", len(args), args)
	}
}

func TestRulesQueues(t *testing.T) {
	queue, fail := Policy{NoPathRetry: -1}, Policy{}
	for _, c := range []struct {
		retry string
		p     Policy
		want  bool
	}{{"", queue, true}, {"", fail, false}, {"fail", queue, false}, {"queue", fail, true}, {"30s", fail, true}} {
		if got := (Rules{NoPathRetry: c.retry}).Queues(c.p); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestRuleFiles follows a map's file: written, read by multipathd, dropped, and forgotten once that was read too.
func TestRuleFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf.d")
	f := RuleFiles{ConfigFile: filepath.Join(dir, "portbind.conf")}
	put := func(id string, r Rules, want bool) {
		t.Helper()
		if changed, err := f.Put(id, r); err != nil || changed != want {
			t.Errorf("Put %+v: changed %v, %v", r, changed, err)
		}
	}
	names := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("files: %q, %v, want %q", got, err, want)
		}
	}
	put(id1, Rules{}, false)
	put(id1, Rules{Selector: "round-robin"}, true)
	put(id1, Rules{Selector: "round-robin"}, false)
	put(id2, Rules{NoPathRetry: "fail"}, true)
	names("portbind-map-"+id1+".conf", "portbind-map-"+id2+".conf")
	for range 2 {
		put(id1, Rules{}, true) // multipathd has not read it yet
	}
	gone, err := f.Dropped()
	if err != nil || !slices.Equal(gone, []string{id1}) {
		t.Errorf("dropped: %q, %v", gone, err)
	}
	if ids, err := f.IDs(); err != nil || !slices.Equal(ids, []string{id1, id2}) {
		t.Errorf("all: %q, %v", ids, err)
	}
	if err := f.Forget([]string{id1, id2, "none"}); err != nil {
		t.Error(err)
	}
	names("portbind-map-" + id2 + ".conf")
	for _, bad := range []string{"../x", "", "a b", "a\n"} {
		if _, err := f.Put(bad, Rules{Selector: "round-robin"}); !errors.Is(err, ErrInput) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
