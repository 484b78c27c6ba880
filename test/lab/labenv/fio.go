//go:build lab

package labenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// FioOptions says how fio writes. The zero value is random 4 KiB writes, eight at a time, over 64 MiB, all of them
// read back and compared while it goes on.
type FioOptions struct {
	RW       string // default randwrite
	BS       string // default 4k
	Size     string // default 64M
	Depth    int    // default 8
	Rate     string // per second, e.g. 20m; default unlimited
	NoVerify bool
	Extra    []string // more of fio's options
}

// FioResult is what fio did until it was stopped.
type FioResult struct {
	WrittenBytes, ReadBytes uint64
	Errors                  int           // of any kind: writes, reads, verification
	Stall                   time.Duration // longest completion of a write
	ReadStall               time.Duration // longest completion of a verifying read
	Elapsed                 time.Duration
	Output                  string // what fio said besides
}

// WriteRate is in bytes per second.
func (r FioResult) WriteRate() float64 { return float64(r.WrittenBytes) / r.Elapsed.Seconds() }

// Fio is a running fio.
type Fio struct {
	d    *Daemon
	json string
}

// Fio starts writing to a device, or to a file in a directory.
func (e *Env) Fio(target string, o FioOptions) *Fio {
	e.T.Helper()
	out := filepath.Join(e.Artefacts, fmt.Sprintf("fio-%d.json", time.Now().UnixNano()))
	argv := append(fioArgs(o), "--output="+out)
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		argv = append(argv, "--directory="+target)
	} else {
		argv = append(argv, "--filename="+target)
	}
	f := &Fio{json: out}
	f.d = e.Daemon("fio", func() bool { return true }, append([]string{"fio"}, append(argv, o.Extra...)...)...)
	return f
}

func fioArgs(o FioOptions) []string {
	or := func(v, fallback string) string {
		if v == "" {
			return fallback
		}
		return v
	}
	if o.Depth == 0 {
		o.Depth = 8
	}
	args := []string{
		"--name=lab", "--thread", "--ioengine=libaio", "--direct=1", "--time_based", "--runtime=86400", "--output-format=json",
		"--rw=" + or(o.RW, "randwrite"), "--bs=" + or(o.BS, "4k"), "--size=" + or(o.Size, "64M"), fmt.Sprintf("--iodepth=%d", o.Depth),
	}
	if !o.NoVerify {
		args = append(args, "--verify=crc32c", "--verify_backlog=1024", "--verify_fatal=1")
	}
	if o.Rate != "" {
		args = append(args, "--rate="+o.Rate)
	}
	return args
}

// Running tells whether fio is still at it; it ends by itself on an I/O error.
func (f *Fio) Running() bool { return f.d.Running() }

// IO returns how many bytes fio has written, and read back, so far (proc_pid_io(5)).
func (f *Fio) IO() (written, verified uint64) {
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/io", f.d.PID()))) {
		_, _ = fmt.Sscanf(line, "write_bytes: %d", &written)
		_, _ = fmt.Sscanf(line, "read_bytes: %d", &verified)
	}
	return written, verified
}

// Stop ends fio and returns what it did. I/O that hangs fails the test after a minute.
func (f *Fio) Stop() FioResult {
	e := f.d.e
	e.T.Helper()
	if f.d.Running() {
		e.must(f.d.cmd.Process.Signal(syscall.SIGINT))
	}
	e.Eventually(time.Minute, "fio ends: its I/O hangs", func() bool { return !f.d.Running() })
	data, err := os.ReadFile(f.json)
	e.must(err)
	return f.parse(data)
}

type fioSide struct {
	IOBytes uint64 `json:"io_bytes"`
	Clat    struct {
		Max uint64 `json:"max"`
	} `json:"clat_ns"`
}

func (f *Fio) parse(data []byte) FioResult {
	f.d.e.T.Helper()
	var out struct {
		Jobs []struct {
			Error       int     `json:"error"`
			TotalErr    int     `json:"total_err"`
			JobRuntime  int64   `json:"job_runtime"`
			Read, Write fioSide // fio writes them in lower case
		} `json:"jobs"`
	}
	// fio puts its notes on being interrupted before the JSON.
	start := max(0, bytes.IndexByte(data, '{'))
	f.d.e.must(json.Unmarshal(data[start:], &out))
	if len(out.Jobs) != 1 {
		f.d.e.T.Fatalf("fio: %d jobs in its report", len(out.Jobs))
	}
	j := out.Jobs[0]
	r := FioResult{
		WrittenBytes: j.Write.IOBytes, ReadBytes: j.Read.IOBytes, Errors: j.TotalErr,
		Stall: time.Duration(j.Write.Clat.Max), ReadStall: time.Duration(j.Read.Clat.Max), //nolint:gosec // below 292 years
		Elapsed: time.Duration(j.JobRuntime) * time.Millisecond, Output: f.d.Tail(20),
	}
	if j.Error != 0 && r.Errors == 0 {
		r.Errors = 1
	}
	return r
}
