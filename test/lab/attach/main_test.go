//go:build lab

package attach

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain gives the process the priority that the node plugin gives itself, like iscsid and multipathd do: the rules
// that udev runs for new disks must not be in the way of the attach that made them.
func TestMain(m *testing.M) {
	tasks, _ := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		if tid, err := strconv.Atoi(filepath.Base(task)); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -10)
		}
	}
	os.Exit(m.Run())
}
