package hostexec

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe holds, by default.
const pipeSize = 64 << 10

// output takes what a program writes. Unlike the pipes of os/exec it gives all that the program wrote before it ended even when
// something that the program left running, such as a daemon, holds the pipe open, or this machine is too busy to read in time.
type output struct {
	// write is the program's end; closed here once the program has it.
	write, read *os.File
	into        io.Writer
	done        chan struct{}
}

// outputs are those of one program.
type outputs []*output

func newOutputs(into ...io.Writer) (outputs, error) {
	all := make(outputs, 0, len(into))
	for _, w := range into {
		read, write, err := os.Pipe()
		if err != nil {
			all.started()
			all.finish(time.Now())
			return nil, err
		}
		o := &output{write: write, read: read, into: w, done: make(chan struct{})}
		go o.copy()
		all = append(all, o)
	}
	return all, nil
}

// started lets go of the program's ends, which by now the program has, or will never have.
func (all outputs) started() {
	for _, o := range all {
		_ = o.write.Close()
	}
}

// finish returns when nobody has the program's ends any more, at the latest at the deadline. What is in the pipes by then is read.
func (all outputs) finish(deadline time.Time) {
	for _, o := range all {
		_ = o.read.SetReadDeadline(deadline)
	}
	for _, o := range all {
		<-o.done
		_ = o.read.Close()
	}
}

func (o *output) copy() {
	defer close(o.done)
	if _, err := io.Copy(o.into, o.read); errors.Is(err, os.ErrDeadlineExceeded) {
		o.rest()
	}
}

// rest reads what is in the pipe, and waits for nothing.
func (o *output) rest() {
	_ = o.read.SetReadDeadline(time.Time{})
	conn, err := o.read.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool {
		buf := make([]byte, pipeSize)
		if n, err := unix.Read(int(fd), buf); err == nil {
			_, _ = o.into.Write(buf[:n])
		}
		return true
	})
}
