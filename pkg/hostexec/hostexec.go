// Package hostexec is the only place that starts programs. Each runs with the caller's context, LC_ALL=C, no
// shell, and its stdin, stdout and stderr captured; when asked, in the mount namespace of the host.
package hostexec

import (
	"context"
	"fmt"
	"strings"
)

// Runner starts programs and waits for them. The one seam between this project and the tools of the host.
type Runner interface {
	// Run starts the program name with args, feeds it stdin (nil for none) and returns its stdout. A program
	// that could not be started, was killed, or ended with a status other than 0 gives an *Error. When ctx
	// ends the program's process group is killed. What a program leaves running when it ends by itself is left alone.
	Run(ctx context.Context, stdin []byte, name string, args ...string) (stdout []byte, err error)
}

// Error says which program failed and how. Nothing of stdin is in it.
type Error struct {
	// Name and Args are the command line.
	Name string
	Args []string
	// ExitCode is the exit status; -1 when the program was killed or never ran.
	ExitCode int
	// Stderr is the program's standard error, trimmed, at most 4 KiB of it.
	Stderr string
	// Err is the cause when the program did not run to its end: a context's error, exec.ErrNotFound, ...
	Err error
}

// Error gives one line: the command, what happened, and what the program said.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(strings.Join(append([]string{e.Name}, e.Args...), " "))
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	} else {
		fmt.Fprintf(&b, ": exit status %d", e.ExitCode)
	}
	if e.Stderr != "" {
		b.WriteString(": " + strings.ReplaceAll(e.Stderr, "\n", "; "))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
