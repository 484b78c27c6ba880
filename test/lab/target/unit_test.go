//go:build lab

package target

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
	"github.com/portbind/portbind/test/lab/labenv"
)

// TestCapabilities: what the systemd unit leaves the daemon is enough for all that it does.
func TestCapabilities(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.target.Stop()
	d := s.target.Daemon
	d.Argv = append([]string{
		d.Argv[0], d.Argv[1], "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all," + unitCapabilities(t),
	}, d.Argv[2:]...)
	d.Start()
	status, err := os.ReadFile(filepath.Join("/proc", s.pid(), "status"))
	s.must(err)
	if strings.Contains(string(status), "CapEff:\t000001ffffffffff") {
		t.Fatal("the daemon has all capabilities")
	}
	s.create("v", 8*mib)
	lun := s.publish("v", nodeA, false)
	_, err = s.api.CreateSnapshot(s.ctx(), &targetv1.CreateSnapshotRequest{Key: s.snapKey("s"), Source: s.key("v")})
	s.must(err)
	_, err = s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("c"), SourceSnapshot: s.snapKey("s"), RequiredBytes: 16 * mib})
	s.must(err)
	_, err = s.api.ExpandVolume(s.ctx(), &targetv1.ExpandVolumeRequest{Key: s.key("v"), RequiredBytes: 16 * mib})
	s.must(err)
	s.target.Kill()
	s.target.ForgetKernelState()
	s.Run("vgchange", "-an", s.target.Pools[0].VG)
	s.target.Start()
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, lun)
	s.must(r.write(0, 1))
	s.unpublish("v", "")
	s.removeSnapshot("s")
	s.remove("c")
	s.remove("v")
}

func (s *setup) pid() string {
	s.T.Helper()
	self, err := filepath.EvalSymlinks(s.Binary("portbind-targetd"))
	s.must(err)
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	s.must(err)
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == self {
			return filepath.Base(filepath.Dir(l))
		}
	}
	s.T.Fatal("the daemon does not run")
	return ""
}

// unitCapabilities gives the unit's bounding set as setpriv(1) takes it.
func unitCapabilities(t *testing.T) string {
	t.Helper()
	unit, err := os.ReadFile(filepath.Join(os.Getenv("LAB_ROOT"), "deploy/targetd/portbind-targetd.service"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)
	if line == nil {
		t.Fatal("no capabilities in the unit")
	}
	return "+" + strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(string(line[1]), "CAP_", ""), " ", ",+"))
}

// TestCheck: the report on a host that is ready, and on one that is not.
func TestCheck(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.target.Stop()
	check := []string{s.target.Argv[0], s.target.Argv[1], s.Binary("portbind-targetd"), "check", "--config", s.target.Config}
	out := s.Run(check...)
	if strings.Count(out, "ok    ") != 7 {
		t.Errorf("a host that is ready:\n%s", out)
	}
	p := s.target.Pools[0]
	s.Run("lvcreate", "-q", "-T", "-L", "8m", "-Zn", p.VG+"/dirty")
	defer s.Run("lvremove", "-q", "-f", p.VG+"/dirty")
	config, err := os.ReadFile(s.target.Config)
	s.must(err)
	s.must(os.WriteFile(s.target.Config, []byte(strings.Replace(string(config), "thinPool: "+p.LV, "thinPool: dirty", 1)), 0o600))
	out, err = s.Try(check...)
	if err == nil || !strings.Contains(out, "FAIL  pools") || !strings.Contains(out, "lvchange --zero y") {
		t.Errorf("a pool that shows old data: %v\n%s", err, out)
	}
}
