package sysfs

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DiskStat is what a block device has done since it was made.
type DiskStat struct {
	// Reads and Writes are I/Os that ended.
	Reads, Writes         uint64
	ReadBytes, WriteBytes uint64
	// ReadTime and WriteTime are the sums of what the I/Os took, from the queue to their end.
	ReadTime, WriteTime time.Duration
	// InFlight are I/Os that have not ended.
	InFlight uint64
}

// DiskStat reads that of a disk by its name: ErrGone when there is none.
func (f FS) DiskStat(name string) (DiskStat, error) {
	if name == "" || name == "." || name == ".." || name != filepath.Base(name) {
		return DiskStat{}, &Error{Op: "read", Path: f.path("block", name), Err: ErrGone}
	}
	text, err := f.read("block", name, "stat")
	if err != nil {
		return DiskStat{}, err
	}
	// Documentation/block/stat.rst; later kernels append to the first eleven.
	n, err := numbers(strings.Fields(text), 9)
	if err != nil {
		return DiskStat{}, &Error{Op: "read", Path: f.path("block", name, "stat"), Err: err}
	}
	return DiskStat{
		Reads: n[0], ReadBytes: n[2] * sectorSize, ReadTime: milliseconds(n[3]),
		Writes: n[4], WriteBytes: n[6] * sectorSize, WriteTime: milliseconds(n[7]),
		InFlight: n[8],
	}, nil
}

// milliseconds of a counter; more than 292 years are that.
func milliseconds(n uint64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}

// numbers are the first ones of a line.
func numbers(fields []string, count int) ([]uint64, error) {
	if len(fields) < count {
		return nil, fmt.Errorf("%w: %d numbers, want %d", ErrFormat, len(fields), count)
	}
	out := make([]uint64, count)
	for i := range out {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is no counter", ErrFormat, fields[i])
		}
		out[i] = n
	}
	return out, nil
}

// Since is what was done after an earlier reading of the same disk. A disk that has done less by now is another one of that
// name: all it did counts.
func (s DiskStat) Since(earlier DiskStat) DiskStat {
	if s.Reads < earlier.Reads || s.Writes < earlier.Writes || s.ReadBytes < earlier.ReadBytes || s.WriteBytes < earlier.WriteBytes ||
		s.ReadTime < earlier.ReadTime || s.WriteTime < earlier.WriteTime {
		return s
	}
	return DiskStat{
		Reads: s.Reads - earlier.Reads, Writes: s.Writes - earlier.Writes,
		ReadBytes: s.ReadBytes - earlier.ReadBytes, WriteBytes: s.WriteBytes - earlier.WriteBytes,
		ReadTime: s.ReadTime - earlier.ReadTime, WriteTime: s.WriteTime - earlier.WriteTime, InFlight: s.InFlight,
	}
}

// Plus adds up.
func (s DiskStat) Plus(o DiskStat) DiskStat {
	return DiskStat{
		Reads: s.Reads + o.Reads, Writes: s.Writes + o.Writes,
		ReadBytes: s.ReadBytes + o.ReadBytes, WriteBytes: s.WriteBytes + o.WriteBytes,
		ReadTime: s.ReadTime + o.ReadTime, WriteTime: s.WriteTime + o.WriteTime, InFlight: s.InFlight + o.InFlight,
	}
}
