//go:build lab

package interfaces

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	onlyA = "  - { name: san-a, netdev: san0 }\n"
	both  = onlyA + "  - { name: san-b, netdev: san1 }\n"
)

// TestSysctls begins with what a distribution sets, has the plugin set what two NICs in one subnet need, kills it, and
// has everything put back: of a NIC that is no interface any more, and of all when it is not to manage them.
func TestSysctls(t *testing.T) {
	s := newScene(t)
	for key, value := range map[string]string{"rp_filter": "1", "arp_ignore": "0", "arp_announce": "0"} {
		s.sysctl("all", key, value)
		s.sysctl("san0", key, value)
		s.sysctl("san1", key, "0")
	}
	s.start([]map[string]any{iface("san-a", "netdev", "san0"), iface("san-b", "netdev", "san1")}, nil)
	s.want("san-a ARPFlux", "san-b FilteredByRPFilter")
	if err := s.reaches("san1"); err == nil {
		t.Error("a portal answers through san1 in spite of the filter")
	}
	s.wantSysctls("1 0 0", "0 0 0")

	s.reconfigure(both + "manageSysctls: true\n")
	s.want("san-a Compliant", "san-b Compliant")
	s.wantSysctls("2 1 2", "2 1 2")
	if err := s.reaches("san1"); err != nil {
		t.Error(err)
	}
	s.reconfigure(onlyA + "manageSysctls: true\n")
	s.wantSysctls("2 1 2", "0 0 0")
	s.reconfigure(both + "manageSysctls: false\n")
	s.wantSysctls("1 0 0", "0 0 0")
	s.want("san-a ARPFlux", "san-b FilteredByRPFilter")
	if left, _ := filepath.Glob(s.node.StateDir + "/sysctls*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// reconfigure kills the plugin and starts it with another list of interfaces, and what follows it.
func (s *scene) reconfigure(list string) {
	s.T.Helper()
	text := "stateDir: " + s.node.StateDir + "\ninterfaces:\n" + list
	if err := os.WriteFile(s.node.Config, []byte(text), 0o600); err != nil {
		s.T.Fatal(err)
	}
	s.node.Restart()
}

// wantSysctls waits until rp_filter, arp_ignore and arp_announce of the NICs are these.
func (s *scene) wantSysctls(san0, san1 string) {
	s.T.Helper()
	var got [2]string
	s.Eventually(10*time.Second, "sysctls "+san0+", "+san1, func() bool {
		got = [2]string{s.sysctls("san0"), s.sysctls("san1")}
		return got == [2]string{san0, san1}
	})
	s.T.Logf("rp_filter, arp_ignore, arp_announce: san0 %s, san1 %s", got[0], got[1])
}

func (s *scene) sysctls(nic string) string {
	var all []string
	for _, key := range []string{"rp_filter", "arp_ignore", "arp_announce"} {
		raw, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + nic + "/" + key)
		if err != nil {
			s.T.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(raw)))
	}
	return strings.Join(all, " ")
}
