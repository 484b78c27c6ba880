//go:build cluster

package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mark is something that happens on the way from a claim to a running pod; each but the first ends a phase.
type mark int

const (
	made mark = iota
	chosen
	bound
	scheduled
	attaching
	attached
	staging
	staged
	published
	running
	marks
)

func (m mark) String() string {
	return [...]string{
		"claim and pod made", "scheduler has chosen a node", "PV made and bound", "pod scheduled", "VolumeAttachment made", "attached",
		"kubelet begins to stage", "staged", "published", "container runs",
	}[m]
}

// story is when it happened, by our clock. What has not is zero.
type story [marks]time.Time

// note keeps the first time.
func (s *story) note(m mark, at time.Time) {
	if s[m].IsZero() {
		s[m] = at
	}
}

// phases are the durations between the marks; the last is the whole. Nil when something is missing.
func (s *story) phases() []time.Duration {
	var all []time.Duration
	for m := chosen; m < marks; m++ {
		if s[m].IsZero() || s[m-1].IsZero() {
			return nil
		}
		all = append(all, s[m].Sub(s[m-1]))
	}
	return append(all, s[running].Sub(s[made]))
}

// report prints the phases of all pods with volumes, and leaves them with the artefacts.
func (s *scene) report() {
	s.T.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	columns := make([][]time.Duration, int(marks))
	var bare []time.Duration
	for name, one := range s.stories {
		if strings.HasPrefix(name, "bare") {
			bare = append(bare, one[running].Sub(one[made]))
			continue
		}
		phases := one.phases()
		if phases == nil {
			s.T.Errorf("%s: not everything was seen: %v", name, *one)
			continue
		}
		for i, d := range phases {
			columns[i] = append(columns[i], d)
		}
	}
	text := table(columns, bare)
	s.T.Logf("%d volumes\n%s", len(columns[0]), text)
	dir := os.Getenv("LAB_ARTEFACTS")
	if err := os.MkdirAll(dir, 0o755); err == nil {
		_ = os.WriteFile(filepath.Join(dir, "phases.md"), []byte(text), 0o644) // it is in the test's output as well
	}
}

func table(columns [][]time.Duration, bare []time.Duration) string {
	var out strings.Builder
	whole := columns[len(columns)-1]
	sum := time.Duration(0)
	for _, column := range columns[:len(columns)-1] {
		sum += mean(column)
	}
	fmt.Fprintln(&out, "| until | median | p95 | share of the mean |\n|---|---|---|---|")
	for i, column := range columns[:len(columns)-1] {
		share := 100 * mean(column).Seconds() / sum.Seconds()
		fmt.Fprintf(&out, "| %s | %.2f s | %.2f s | %.0f %% |\n", mark(i+1), at(column, 50).Seconds(), at(column, 95).Seconds(), share)
	}
	fmt.Fprintf(&out, "| all | %.2f s | %.2f s | 100 %% |\n", at(whole, 50).Seconds(), at(whole, 95).Seconds())
	fmt.Fprintf(&out, "| a pod without volume | %.2f s | %.2f s | |\n", at(bare, 50).Seconds(), at(bare, 95).Seconds())
	return out.String()
}

func mean(all []time.Duration) time.Duration {
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(max(1, len(all)))
}

// at is a percentile: the least that so many per cent do not exceed.
func at(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)*percent+99)/100-1]
}
