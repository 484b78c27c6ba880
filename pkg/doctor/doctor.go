// Package doctor says what is wrong with port binding, sessions and paths on this node, and how to mend it. Facts are gathered
// concurrently and change nothing; the judgement is a pure function of them.
package doctor

import "github.com/portbind/portbind/pkg/view"

// The doctor speaks in the words that a cluster's doctor uses too.
type (
	// Severity says how much a finding matters.
	Severity = view.Severity
	// Finding is one thing that was looked at.
	Finding = view.Finding
	// Report is all of them, the worst first.
	Report = view.Report
)

// The severities. Info is worth knowing and nothing to mend.
const (
	OK      = view.OK
	Info    = view.Info
	Warning = view.Warning
	Error   = view.Error
)

// newReport sorts findings, which come in the order of cause and effect.
func newReport(findings []Finding) Report { return view.NewReport(findings) }
