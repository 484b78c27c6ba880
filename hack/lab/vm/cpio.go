package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
)

// writeCPIO writes an initial ram disk ("newc", Documentation/driver-api/early-userspace/buffer-format.rst) with the
// given files, by their names in it. Directories come with them.
func writeCPIO(dest string, files map[string]string) error {
	f, err := os.Create(dest)
	if err != nil {
		return fmt.Errorf("initial ram disk: %w", err)
	}
	defer f.Close()
	a := archive{w: bufio.NewWriter(f)}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	dirs := map[string]bool{".": true}
	for _, name := range names {
		if dir := path.Dir(name); !dirs[dir] {
			dirs[dir] = true
			a.add(dir, 0o40755, nil)
		}
		data, err := os.ReadFile(files[name])
		if err != nil {
			return fmt.Errorf("initial ram disk: %w", err)
		}
		a.add(name, 0o100755, data)
	}
	a.add("TRAILER!!!", 0, nil)
	return a.close()
}

type archive struct {
	w   *bufio.Writer
	n   int
	ino int
	err error
}

func (a *archive) add(name string, mode int, data []byte) {
	a.ino++
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0))
	a.write(append([]byte(name), 0))
	a.pad()
	a.write(data)
	a.pad()
}

func (a *archive) pad() { a.write(make([]byte, (4-a.n%4)%4)) }

func (a *archive) write(p []byte) {
	if a.err == nil {
		_, a.err = io.Writer(a.w).Write(p)
	}
	a.n += len(p)
}

func (a *archive) close() error {
	if a.err == nil {
		a.err = a.w.Flush()
	}
	if a.err != nil {
		return fmt.Errorf("initial ram disk: %w", a.err)
	}
	return nil
}
