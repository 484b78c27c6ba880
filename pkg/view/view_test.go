package view

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 200 << 20: "200 MiB", 3 << 50: "3.0 PiB", 1 << 63: "8192 PiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, not %s", n, got, want)
		}
	}
}

func TestParseFormat(t *testing.T) {
	if got, err := ParseFormat("json", Table, JSON); err != nil || got != JSON {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := ParseFormat("xml", Table, JSON); err == nil || !strings.Contains(err.Error(), "table, json") {
		t.Errorf("got %v", err)
	}
}

// The node's name goes into JSON beside the other fields, and comes back.
func TestRowsOfNodes(t *testing.T) {
	rows := []Interface{{Name: "san-a", State: "Compliant", Flaps: new(0)}}
	On("node1", rows)
	text, err := json.Marshal(rows)
	if err != nil || !strings.HasPrefix(string(text), `[{"node":"node1","name":"san-a"`) {
		t.Fatalf("%s, %v", text, err)
	}
	var back []Interface
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows, back); diff != "" {
		t.Error(diff)
	}
}

func TestLayouts(t *testing.T) {
	rows := []Interface{
		{Name: "san-a", NIC: "eth2", State: "Compliant", Sessions: 2, SessionsTotal: 4, Flaps: new(0), RxRate: new(1.5 * 1024), TxRate: new(0.0)},
		{Name: "san-b", State: "NoNIC"},
	}
	On("node1", rows)
	var got strings.Builder
	for _, l := range []Layout{{Format: Table}, {Format: Table, Cluster: true}, {Format: Table, Cluster: true, Watched: true}, {Format: Wide}} {
		if err := Print(&got, l, rows); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, "layouts.txt", got.String())
}

func TestReports(t *testing.T) {
	r := NewReport([]Finding{
		{Severity: OK, Check: "kernel", Seen: "it is there", Node: "node1"},
		{Severity: Warning, Check: "volume", Subject: "v", Seen: "2 of 4\npaths work", Evidence: []string{"no link"}, Fix: "mend it", Node: "node2"},
		{Severity: Error, Check: "identity", Seen: "two nodes are one"},
		{Severity: Warning, Check: "taint", Seen: "later than its equals"},
	})
	if r.Severity != Error || r.ExitStatus() != 2 {
		t.Errorf("got %s, %d", r.Severity, r.ExitStatus())
	}
	var got strings.Builder
	for _, write := range []func() error{
		func() error { return r.WriteTable(&got) },
		func() error { return r.WriteClusterTable(&got, false) },
		func() error { return r.WriteClusterTable(&got, true) },
		func() error { return NewReport(nil).WriteClusterTable(&got, false) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, "reports.txt", got.String())
}

// compare holds a text against a file of testdata; spaces at the end of lines do not count.
func compare(t *testing.T, name, got string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(got) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), strings.Join(lines, "\n")+"\n"); diff != "" {
		t.Error(diff)
	}
}
