package writer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Arg makes the lab's program call Serve.
const Arg = "write"

// Answer is what Serve says to each command.
type Answer struct {
	Result
	Error string `json:"error,omitempty"`
}

// Commands of Serve, one a line.
const (
	CmdResult = "result" // the state so far
	CmdReset  = "reset"  // measure the longest stall anew
	CmdStop   = "stop"   // end the writing, waiting for the write in flight for up to 30 s
	CmdVerify = "verify" // read everything back
)

// Serve writes to path and obeys the commands in r, with one JSON Answer a line in w, until r ends.
func Serve(path string, r io.Reader, w io.Writer) error {
	writer, err := Start(path)
	if err != nil {
		return err
	}
	defer writer.Stop(time.Second)
	enc, sc := json.NewEncoder(w), bufio.NewScanner(r)
	for sc.Scan() {
		res, err := writer.obey(sc.Text(), path)
		a := Answer{Result: res}
		if err = errors.Join(err, res.Err); err != nil {
			a.Error = err.Error()
		}
		if err := enc.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return sc.Err()
}

func (w *Writer) obey(command, path string) (Result, error) {
	switch command {
	case CmdResult:
		return w.Result(), nil
	case CmdReset:
		w.ResetStall()
		return w.Result(), nil
	case CmdStop:
		return w.Stop(30 * time.Second), nil
	case CmdVerify:
		return w.Result(), w.Verify(path)
	default:
		return Result{}, fmt.Errorf("unknown command %q", command)
	}
}
