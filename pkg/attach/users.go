package attach

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/multipath"
)

// maxUsers bounds the list in an error.
const maxUsers = 4

// users names the mounts of our namespace and the processes that have a device open, for an error message. It looks at
// every process, which is why it runs only when something is in the way.
func users(n multipath.Devno) []string {
	found := mounts(n)
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return found
	}
	for _, proc := range procs {
		if len(found) >= maxUsers {
			break
		}
		if hasOpen(proc, n) {
			comm, _ := os.ReadFile(filepath.Join(proc, "comm"))
			found = append(found, fmt.Sprintf("process %s (%s)", filepath.Base(proc), strings.TrimSpace(string(comm))))
		}
	}
	return found
}

func mounts(n multipath.Devno) []string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var found []string
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(found) < maxUsers {
		// As in proc(5): ID, parent, device number, root, mount point, options.
		w := strings.Fields(lines.Text())
		if len(w) > 4 && w[2] == n.String() {
			found = append(found, "mount "+w[4])
		}
	}
	return found
}

func hasOpen(proc string, n multipath.Devno) bool {
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return false
	}
	for _, fd := range fds {
		var st unix.Stat_t
		if unix.Stat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == unix.Mkdev(n.Major, n.Minor) {
			return true
		}
	}
	return false
}
