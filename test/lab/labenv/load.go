//go:build lab

package labenv

import (
	"path/filepath"
	"time"
)

// Load is verified writing to a mounted volume: fio checks what it reads back, and a journal knows what was acknowledged, and how
// long each write took.
type Load struct {
	Fio     *Fio
	Journal *Writer
	e       *Env
	file    string
}

// Load starts writing in a directory, with fio as it is told, and returns when both write and fio has begun to read back.
func (e *Env) Load(dir string, o FioOptions) *Load {
	e.T.Helper()
	l := &Load{e: e, file: filepath.Join(dir, "journal")}
	l.Journal = e.Writer(l.file)
	l.Fio = e.Fio(dir, o)
	e.Eventually(time.Minute, "writes to begin, and to be verified", func() bool {
		written, verified := l.Fio.IO()
		return written > 0 && verified > 0 && l.Journal.Result().Acked > 50
	})
	return l
}

// Stall is the longest write of the journal since the last call, one that is under way included.
func (l *Load) Stall() time.Duration {
	stall := l.Journal.Result().Stall
	l.Journal.ResetStall()
	return stall
}

// Noise is the longest write of a while in which the test does nothing: what the machine adds to each stall.
func (l *Load) Noise() time.Duration {
	l.e.T.Helper()
	l.Stall()
	time.Sleep(3 * time.Second)
	noise := l.Stall()
	l.e.T.Logf("longest write in a quiet time: %v", noise.Round(time.Millisecond))
	return noise
}

// Flowing waits until writes are acknowledged again, and gives how long that took. A write that failed ends the wait.
func (l *Load) Flowing(timeout time.Duration) time.Duration {
	l.e.T.Helper()
	before := l.Journal.Result().Acked
	return l.e.Eventually(timeout, "writes to go on", func() bool {
		r := l.Journal.Result()
		return r.Err != nil || r.Acked > before+10
	})
}

// Finish stops writing and holds everything against what was acknowledged. It returns what fio did.
func (l *Load) Finish() FioResult {
	t := l.e.T
	t.Helper()
	r := l.Fio.Stop()
	if r.Errors > 0 || r.WrittenBytes == 0 || r.ReadBytes == 0 {
		t.Errorf("fio saw %d errors, wrote %d bytes and verified %d:\n%s", r.Errors, r.WrittenBytes, r.ReadBytes, r.Output)
	}
	j := l.Journal.Stop(30 * time.Second)
	if j.Err != nil {
		t.Errorf("the journal's writer failed: %v", j.Err)
	}
	if err := l.Journal.Verify(l.file); err != nil {
		t.Errorf("acknowledged writes are not there: %v", err)
	}
	t.Logf("fio wrote %d MiB and verified %d MiB, longest write %v, read %v; journal %d writes",
		r.WrittenBytes>>20, r.ReadBytes>>20, r.Stall, r.ReadStall, j.Acked)
	return r
}
