package fsmount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Point is one line of the mount table (proc_pid_mountinfo(5)).
type Point struct {
	// Path is the mount point, Root the directory or file of the file system that is mounted there.
	Path, Root string
	// Major and Minor are those of the file system, which for btrfs are not the device's.
	Major, Minor   uint32
	FSType, Source string
	// Options are the mount's own, Super the file system's.
	Options, Super []string
}

// errMountInfo is a line of the mount table that cannot be understood.
var errMountInfo = errors.New("malformed line in the mount table")

// Points reads the mount table, in the order of mounting.
func (f *FS) Points() ([]Point, error) {
	data, err := os.ReadFile(f.MountInfo)
	if err != nil {
		return nil, err
	}
	return parseMountInfo(string(data))
}

// parseMountInfo parses the whole table. Fields are separated by single spaces, so that an empty source, which the
// kernel prints as nothing at all, remains a field.
func parseMountInfo(text string) ([]Point, error) {
	var points []Point
	for line := range strings.Lines(text) {
		p, ok := parseMountLine(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil, fmt.Errorf("%w: %q", errMountInfo, line)
		}
		points = append(points, p)
	}
	return points, nil
}

// parseMountLine parses "36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/x rw,errors=continue".
func parseMountLine(line string) (Point, bool) {
	front, back, ok := strings.Cut(line, " - ")
	left, right := strings.Split(front, " "), strings.SplitN(back, " ", 3)
	if !ok || len(left) < 6 || len(right) != 3 {
		return Point{}, false
	}
	major, minor, ok := parseDevice(left[2])
	return Point{
		Root: unescape(left[3]), Path: unescape(left[4]), Major: major, Minor: minor,
		FSType: right[0], Source: unescape(right[1]),
		Options: strings.Split(left[5], ","), Super: strings.Split(right[2], ","),
	}, ok
}

// parseDevice parses "253:3".
func parseDevice(s string) (major, minor uint32, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	x, err1 := strconv.ParseUint(a, 10, 32)
	y, err2 := strconv.ParseUint(b, 10, 32)
	return uint32(x), uint32(y), ok && err1 == nil && err2 == nil
}

// unescape undoes the octal escapes of seq_path (fs/seq_file.c): space, tab, newline, backslash and #.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At returns what is mounted at a path, the topmost last; several when mounts are stacked. Symbolic links in the
// directories above are followed, as the kernel does.
func (f *FS) At(path string) ([]Point, error) {
	points, err := f.Points()
	if err != nil {
		return nil, err
	}
	path = realPath(path)
	return slices.DeleteFunc(points, func(p Point) bool { return p.Path != path }), nil
}

// realPath resolves the directory of a path; the last element is what a mount covers, and statting it may hang.
func realPath(path string) string {
	path = filepath.Clean(path)
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}

// Device gives the numbers of the block device below the file system; for btrfs, which has anonymous numbers, those of
// the device that it names as its source. False when there is none (any more).
func (p Point) Device() (major, minor uint32, ok bool) {
	if p.FSType != Btrfs {
		return p.Major, p.Minor, p.Major != 0
	}
	major, minor, err := deviceNumber(p.Source)
	return major, minor, err == nil
}

// Holds says whether the file system at p is that of the block device.
func (p Point) Holds(major, minor uint32) bool {
	m, n, ok := p.Device()
	return ok && m == major && n == minor
}

// ReadOnly says whether nothing can be written through this mount, and SuperReadOnly whether nothing can be to
// the file system by any: so it is mounted, or the kernel made it so after an error.
func (p Point) ReadOnly() bool { return slices.Contains(p.Options, "ro") || p.SuperReadOnly() }

// SuperReadOnly : see ReadOnly.
func (p Point) SuperReadOnly() bool { return slices.Contains(p.Super, "ro") }

// deviceNumber is the number of the block device at path.
func deviceNumber(path string) (major, minor uint32, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, 0, fmt.Errorf("%w: %s is no block device", ErrTarget, path)
	}
	return unix.Major(st.Rdev), unix.Minor(st.Rdev), nil
}
