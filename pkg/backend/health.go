package backend

// Severity says what a problem does to the users of a volume.
type Severity int

// The severities, from the least.
const (
	// Degraded: it works, but not as it should, or will not for long.
	Degraded Severity = iota + 1
	// Inaccessible: no initiator can use it.
	Inaccessible
	// DataLoss: what was written is gone.
	DataLoss
)

// Problem is one thing that is wrong with a volume, or with what it is made of.
type Problem struct {
	Severity Severity
	// Reason is CamelCase, for machines; Message says what is wrong and what to do.
	Reason, Message string
}

// Health is what is wrong with a volume: without problems, nothing that the target knows of. No two problems have the same
// severity and reason.
type Health struct {
	Key
	Problems []Problem
}
