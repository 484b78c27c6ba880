//go:build lab

package target

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// maintained is more than the daemon needs to come round to what it does now and then.
const maintained = 40 * time.Second

// loginKernel logs the kernel's initiator in through one NIC to the first portal, with lines for the node record.
func (s *setup) loginKernel(nic string, record ...string) {
	s.T.Helper()
	s.must(s.tryLogin(nic, record...))
}

// tryLogin is loginKernel with its failure returned. record is pairs of name and value.
func (s *setup) tryLogin(nic string, record ...string) error {
	s.T.Helper()
	if _, err := os.Stat("/etc/iscsi/ifaces/" + nic); err != nil {
		s.Iface(nic)
	}
	node := []string{"iscsiadm", "-m", "node", "-T", s.target.IQN, "-p", s.Net.Portals[0] + ":3260", "-I", nic}
	s.Run(append(node, "-o", "new")...)
	record = append(record, "node.session.scan", "manual", "node.session.initial_login_retry_max", "1")
	for i := 0; i+1 < len(record); i += 2 {
		if record[i] != "" {
			s.Run(append(node, "-o", "update", "-n", record[i], "-v", record[i+1])...)
		}
	}
	_, err := s.Try(append(node, "--login")...)
	return err
}

func (s *setup) logoutKernel() {
	s.T.Helper()
	for _, d := range labenv.Disks() {
		s.Write("/sys/block/"+d+"/device/delete", "1")
	}
	s.Run("iscsiadm", "-m", "node", "-T", s.target.IQN, "--logout")
}

// disk scans one LUN and returns its sd.
func (s *setup) disk(lun int) string {
	s.T.Helper()
	hosts, err := filepath.Glob("/sys/class/iscsi_host/host*")
	s.must(err)
	for _, h := range hosts {
		s.Write("/sys/class/scsi_host/"+filepath.Base(h)+"/scan", fmt.Sprintf("0 0 %d", lun))
	}
	var name string
	s.Eventually(10*time.Second, fmt.Sprintf("disk of LUN %d", lun), func() bool {
		found, _ := filepath.Glob(fmt.Sprintf("/sys/class/scsi_device/*:0:0:%d/device/block/*", lun))
		if len(found) == 1 {
			name = filepath.Base(found[0])
		}
		return name != ""
	})
	return name
}

func (s *setup) sys(disk, attr string) string {
	s.T.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/block", disk, attr))
	s.must(err)
	return strings.TrimSpace(string(b))
}

func (s *setup) poolSize() int64 {
	s.T.Helper()
	p := s.target.Pools[0]
	out := s.Run("lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_size", p.VG+"/"+p.LV)
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	s.must(err)
	return n
}

func blocks(size, unit int64) string { return strconv.FormatInt(size/unit, 10) }
