// Package volume turns what a CO hands over as strings (StorageClass parameters, volume and publish contexts, ids,
// secrets) into typed values, and back. Parsing is strict: an unknown key or a malformed value is a FieldError that
// says what is allowed, so that a typing error in a StorageClass never becomes a volume of another kind.
package volume

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

var (
	// ErrOutOfRange marks a FieldError about a size that no volume can have.
	ErrOutOfRange = errors.New("out of range")
	// ErrForeign marks an id that is harmless but not of this driver's form: what it names cannot exist.
	ErrForeign = errors.New("not an id of this driver")
)

// shownBytes is how much of a rejected value an error repeats.
const shownBytes = 64

// FieldError says which field of a request was refused, and what is allowed there.
type FieldError struct {
	// Field is the path of the field as the CSI specification names it, such as `parameters["minPaths"]`.
	Field string
	// Value is what was refused: quoted, without control characters, bounded. Empty for a missing value, and
	// always for secrets.
	Value string
	// Allowed says what is allowed.
	Allowed string
	// Err is a sentinel of this package, or nil.
	Err error
}

// Error is one line without control characters.
func (e *FieldError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s is refused; allowed: %s", e.Field, e.Allowed)
	}
	return fmt.Sprintf("%s: %s is refused; allowed: %s", e.Field, e.Value, e.Allowed)
}

// Unwrap returns the sentinel, if any.
func (e *FieldError) Unwrap() error { return e.Err }

// NewFieldError makes one of a foreign value, which it quotes and bounds.
func NewFieldError(field, value, allowed string) *FieldError {
	return &FieldError{Field: field, Value: show(value), Allowed: allowed}
}

// missing is the error for a value that must be there.
func missing(field, allowed string) *FieldError {
	return &FieldError{Field: field, Value: "a missing value", Allowed: allowed}
}

// show quotes a foreign value for an error or a log: no control characters, at most shownBytes of it.
func show(value string) string {
	if len(value) <= shownBytes {
		return strconv.Quote(value)
	}
	cut := shownBytes
	for cut > 0 && !utf8.RuneStart(value[cut]) {
		cut--
	}
	return fmt.Sprintf("%s... (%d bytes)", strconv.Quote(value[:cut]), len(value))
}
