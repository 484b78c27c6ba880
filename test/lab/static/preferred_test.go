//go:build lab

package static

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestPreferred: of an array that multipath's tables do not know, the preferred interface alone carries the I/O; the other one does
// while it is away, and it does again when it is back. By multipathd's own defaults the I/O would stay where it is.
func TestPreferred(t *testing.T) {
	s := labenv.NewNodeStack(t, labenv.StackOptions{Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}}})
	s.PlainArray(arrayIQN, 64<<20)
	v := s.Adopt(&csi.Volume{VolumeId: "static/plain", VolumeContext: map[string]string{
		"iqn": arrayIQN, "portals": strings.Join(s.Net.Portals, ","), "lun": "1", "interfaces": "san-a,san-b",
		"preferredInterface": "san-b",
	}}, labenv.MountExt4)
	v.PublishContext = map[string]string{"lun": "1"}
	v.Attach()
	file := filepath.Join(v.TargetPath, "journal")
	journal := s.Writer(file) // tgtd is slow: no more than that
	other, preferred := s.Net.NICs[0], s.Net.NICs[1]
	carries(s, preferred, other)
	s.LinkDown(preferred)
	carries(s, other, preferred)
	s.LinkUp(preferred)
	carries(s, preferred, other)
	r := journal.Stop(30 * time.Second)
	if err := journal.Verify(file); err != nil || r.Err != nil {
		t.Errorf("journal: %v, %v", r.Err, err)
	}
	v.Detach()
	s.Tidy()
}

// carries waits until one NIC carries I/O, and the other no more than the checks of its paths.
func carries(s *labenv.Stack, nic, idle string) {
	s.T.Helper()
	took := s.Eventually(time.Minute, nic+" alone to carry I/O", func() bool {
		_, before := s.Bytes(nic)
		_, idleBefore := s.Bytes(idle)
		time.Sleep(time.Second) // what is measured is a rate
		_, after := s.Bytes(nic)
		_, idleAfter := s.Bytes(idle)
		return after-before > 1<<15 && 8*(idleAfter-idleBefore) < after-before
	})
	s.T.Logf("%s carries after %v", nic, took.Round(100*time.Millisecond))
	if s.T.Failed() {
		s.T.Log(s.Multipathd("show topology"))
	}
}
