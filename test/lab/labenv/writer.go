//go:build lab

package labenv

import (
	"time"

	"github.com/portbind/portbind/hack/lab/writer"
)

// Writer writes numbered blocks and remembers which were acknowledged; see its Result, ResetStall, Stop and Verify.
type Writer = writer.Writer

// WriterResult is the state of a Writer.
type WriterResult = writer.Result

// Writer starts writing to the first MiB of a device, or of a file, which is made when it does not exist.
func (e *Env) Writer(path string) *Writer {
	e.T.Helper()
	w, err := writer.Start(path)
	e.must(err)
	e.T.Cleanup(func() { w.Stop(time.Second) })
	return w
}
