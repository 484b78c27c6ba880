//go:build lab

// Package bench measures the product against the bare sequence of commands that does the same by hand, in one run on
// one kernel, so that the ratios mean something where the absolute numbers do not. `make bench` prints the tables and
// leaves them among the artefacts, as Markdown and JSON.
package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// table is one result: a heading, what the numbers mean, and rows of cells.
type table struct {
	Title  string     `json:"title"`
	Note   string     `json:"note"`
	Header []string   `json:"header"`
	Rows   [][]string `json:"rows"`
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.Rows = append(t.Rows, row)
}

// cell rounds to what was measured: three digits.
func cell(v any) string {
	switch v := v.(type) {
	case time.Duration:
		if v >= 10*time.Second {
			return fmt.Sprintf("%.1f s", v.Seconds())
		}
		if v >= time.Second {
			return fmt.Sprintf("%.2f s", v.Seconds())
		}
		return fmt.Sprintf("%.3g ms", float64(v)/float64(time.Millisecond))
	case float64:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprint(v)
	}
}

func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", t.Title, t.Note)
	for i, row := range slices.Concat([][]string{t.Header}, t.Rows) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	return b.String()
}

// publish prints a table and leaves it among the artefacts, beside those of the tests before.
func publish(t *testing.T, tab *table) {
	t.Helper()
	t.Logf("\n%s", tab.markdown())
	dir := os.Getenv("LAB_ARTEFACTS")
	appendTo(t, filepath.Join(dir, "benchmarks.md"), []byte(tab.markdown()+"\n"))
	line, err := json.Marshal(tab)
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(dir, "benchmarks.jsonl"), append(line, '\n'))
}

func appendTo(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

// phase is one step of a sequence.
type phase struct {
	Name string
	Took time.Duration
}

// stopwatch takes the times of the steps of a sequence.
type stopwatch struct {
	start, last time.Time
	phases      []phase
}

func newStopwatch() *stopwatch {
	now := time.Now()
	return &stopwatch{start: now, last: now}
}

func (s *stopwatch) lap(name string) {
	now := time.Now()
	s.phases = append(s.phases, phase{name, now.Sub(s.last)})
	s.last = now
}

func (s *stopwatch) total() time.Duration { return s.last.Sub(s.start) }

// samples are the repetitions of one measurement.
type samples []time.Duration

func (s samples) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

func (s samples) max() time.Duration { return slices.Max(s) }

func ratio(ours, theirs time.Duration) float64 { return float64(ours) / float64(theirs) }

// phaseSamples collects the repetitions of each step of a sequence, in the sequence's order.
type phaseSamples struct {
	order []string
	took  map[string]samples
}

func (p *phaseSamples) add(phases []phase) {
	if p.took == nil {
		p.took = map[string]samples{}
	}
	for _, ph := range phases {
		if _, known := p.took[ph.Name]; !known {
			p.order = append(p.order, ph.Name)
		}
		p.took[ph.Name] = append(p.took[ph.Name], ph.Took)
	}
}

// text gives "scan 50 ms, disks 3 ms, ...", medians.
func (p *phaseSamples) text() string {
	parts := make([]string, len(p.order))
	for i, name := range p.order {
		parts[i] = name + " " + cell(p.took[name].median())
	}
	return strings.Join(parts, ", ")
}
