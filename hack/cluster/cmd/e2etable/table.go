package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// What became of a test.
const (
	passed  = "passed"
	failed  = "failed"
	skipped = "skipped"
	leftOut = "left out"
)

func (s spec) external() bool {
	return len(s.ContainerHierarchyTexts) > 0 && strings.HasPrefix(s.ContainerHierarchyTexts[0], "External Storage")
}

func (s spec) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// outcome: ginkgo calls "skipped" both what a test says of itself, with a reason, and what was not chosen. What was interrupted by
// whoever ran the tests has not run.
func (s spec) outcome() string {
	switch {
	case s.State == passed:
		return passed
	case s.State == skipped && s.Failure.Message == "", s.State == "pending", s.State == "interrupted":
		return leftOut
	case s.State == skipped:
		return skipped
	}
	return failed
}

func (s spec) newer(old spec) bool {
	if (s.outcome() == leftOut) != (old.outcome() == leftOut) {
		return old.outcome() == leftOut
	}
	return s.StartTime.After(old.StartTime)
}

var (
	patternText = regexp.MustCompile(`\[Testpattern: *(.*?)\]`)
	tagText     = regexp.MustCompile(`\[[^\]]*\] *`)
)

// place is the suite and the pattern of volume that a test is of.
func (s spec) place() [2]string {
	_, text, _ := strings.Cut(strings.Join(s.ContainerHierarchyTexts, " "), "] ")
	pattern := ""
	if m := patternText.FindStringSubmatch(text); m != nil {
		pattern = strings.ReplaceAll(m[1], ")(", ") (")
	}
	suite := strings.TrimSpace(tagText.ReplaceAllString(text, ""))
	suite, _, _ = strings.Cut(suite, " ")
	return [2]string{suite, pattern}
}

func (r results) print(w io.Writer) {
	counts := map[[2]string]map[string]int{}
	total := map[string]int{}
	for _, s := range r {
		if counts[s.place()] == nil {
			counts[s.place()] = map[string]int{}
		}
		counts[s.place()][s.outcome()]++
		total[s.outcome()]++
	}
	places := slices.SortedFunc(maps.Keys(counts), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	fmt.Fprint(w, "| suite | pattern | passed | failed | skipped | left out |\n|---|---|---|---|---|---|\n")
	for _, p := range places {
		fmt.Fprintf(w, "| %s | %s |%s\n", p[0], p[1], cells(counts[p]))
	}
	fmt.Fprintf(w, "| **all** | |%s\n", cells(total))
	r.printFailures(w)
	r.printReasons(w)
}

func cells(count map[string]int) string {
	var text strings.Builder
	for _, o := range []string{passed, failed, skipped, leftOut} {
		if count[o] > 0 {
			fmt.Fprintf(&text, " %d", count[o])
		}
		text.WriteString(" |")
	}
	return text.String()
}

func (r results) printFailures(w io.Writer) {
	fmt.Fprint(w, "\nFailed:\n\n")
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if s := r[name]; s.outcome() == failed {
			place := s.place()
			first, _, _ := strings.Cut(s.Failure.Message, "\n")
			fmt.Fprintf(w, "- %s, %s: %s (%s, %s)\n", place[0], place[1], s.LeafNodeText, s.State, first)
		}
	}
}

// printReasons says what tests gave as reasons to skip themselves.
func (r results) printReasons(w io.Writer) {
	reasons := map[string]int{}
	for _, s := range r {
		if s.outcome() == skipped {
			first, _, _ := strings.Cut(strings.TrimPrefix(s.Failure.Message, "skipped: "), "\n")
			reasons[first]++
		}
	}
	fmt.Fprint(w, "\nSkipped:\n\n")
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(w, "- %d: %s\n", reasons[reason], reason)
	}
}
