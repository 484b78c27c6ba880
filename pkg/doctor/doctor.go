// Package doctor says what is wrong with port binding, sessions and paths on this node, and how to mend it. Facts are gathered
// concurrently and change nothing; the judgement is a pure function of them.
package doctor

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Severity is how much a finding matters.
type Severity string

// The severities. Info is worth knowing and nothing to mend.
const (
	OK      Severity = "ok"
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// rank orders severities, the worst first.
func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Info, OK}, s) }

// Finding is one thing that was looked at.
type Finding struct {
	Severity Severity `json:"severity"`
	// Check is what was looked at, Subject which one of several.
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"`
	// Seen says in a sentence what is so, Evidence has more of what it was seen by.
	Seen     string   `json:"seen"`
	Evidence []string `json:"evidence,omitempty"`
	// Fix says what to do about it.
	Fix string `json:"fix,omitempty"`
}

// Report is the outcome.
type Report struct {
	// Severity is that of the worst finding.
	Severity Severity `json:"severity"`
	// Findings begin with the worst; among equals a cause comes before what may follow from it.
	Findings []Finding `json:"findings"`
}

// newReport sorts findings, which come in the order of cause and effect.
func newReport(findings []Finding) Report {
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	r := Report{Severity: OK, Findings: findings}
	if len(findings) > 0 {
		r.Severity = findings[0].Severity
	}
	return r
}

// ExitStatus is 2 with errors, 1 with warnings, else 0.
func (r Report) ExitStatus() int {
	switch r.Severity {
	case Error:
		return 2
	case Warning:
		return 1
	default:
		return 0
	}
}

// WriteTable writes the report for people: what was seen in one line, evidence and fix below it.
func (r Report) WriteTable(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "SEVERITY\tCHECK\tSUBJECT\tFOUND")
	for _, f := range r.Findings {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\n", f.Severity, f.Check, cmp.Or(f.Subject, "-"), oneLine(f.Seen))
		for _, e := range f.Evidence {
			fmt.Fprintf(tab, "\t\t\t  seen: %s\n", oneLine(e))
		}
		if f.Fix != "" {
			fmt.Fprintf(tab, "\t\t\t  fix: %s\n", oneLine(f.Fix))
		}
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nerrors: %d, warnings: %d\n", r.count(Error), r.count(Warning))
	return err
}

func (r Report) count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// oneLine keeps a text from breaking the table.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
