package view

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
	// Node is where; empty in what a node says of itself, and of the cluster as a whole.
	Node     string   `json:"node,omitempty"`
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

// NewReport sorts findings, which come in the order of cause and effect.
func NewReport(findings []Finding) Report {
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

// WriteTable writes the report of a node for people: what was seen in one line, evidence and fix below it.
func (r Report) WriteTable(w io.Writer) error {
	if err := writeFindings(w, r.Findings, false); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nerrors: %d, warnings: %d\n", r.Count(Error), r.Count(Warning))
	return err
}

// WriteClusterTable writes the report of several nodes. What is well is only counted, unless all is wanted.
func (r Report) WriteClusterTable(w io.Writer, all bool) error {
	shown := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Severity == OK && !all })
	if len(shown) > 0 {
		if err := writeFindings(w, shown, true); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintf(w, "errors: %d, warnings: %d, ok: %d\n", r.Count(Error), r.Count(Warning), r.Count(OK))
	return err
}

// writeFindings writes them with or without the node in front.
func writeFindings(w io.Writer, findings []Finding, cluster bool) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := func(node string) string {
		if !cluster {
			return ""
		}
		return node + "\t"
	}
	fmt.Fprintf(tab, "SEVERITY\t%sCHECK\tSUBJECT\tFOUND\n", columns("NODE"))
	for _, f := range findings {
		fmt.Fprintf(tab, "%s\t%s%s\t%s\t%s\n", f.Severity, columns(orDash(f.Node)), f.Check, orDash(f.Subject), oneLine(f.Seen))
		for _, e := range f.Evidence {
			fmt.Fprintf(tab, "\t%s\t\t  seen: %s\n", columns(""), oneLine(e))
		}
		if f.Fix != "" {
			fmt.Fprintf(tab, "\t%s\t\t  fix: %s\n", columns(""), oneLine(f.Fix))
		}
	}
	return tab.Flush()
}

// Count is how many findings are of a severity.
func (r Report) Count(s Severity) int {
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
