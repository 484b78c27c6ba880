package pool

// Severity says what a problem does to the users of a volume.
type Severity int

// The severities, from the least.
const (
	// Degraded: volumes work, but not as they should, or will not for long.
	Degraded Severity = iota + 1
	// Inaccessible: volumes cannot be used.
	Inaccessible
	// DataLoss: what was written is gone.
	DataLoss
)

// Problem is one thing that is wrong.
type Problem struct {
	Severity Severity
	// Reason is CamelCase, for machines; Message says what is wrong and what to do.
	Reason, Message string
}
