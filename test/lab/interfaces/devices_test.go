//go:build lab

package interfaces

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	vlanPortal = "10.97.0.1"
	portal6    = "2001:db8::1"
	bondMAC    = "02:00:5e:10:00:09"
)

// wanted are the sessions of a volume on all devices.
var wanted = []string{"san0.7 10.97.0.1:3260", "brs 10.99.0.1:3260", "brs [2001:db8::1]:3260", "bond9 10.99.0.1:3260"}

// TestDevices uses a VLAN, a bridge with an IPv6 address and a bond as interfaces, each found in another way, for one
// volume. They come into being while the plugin runs.
func TestDevices(t *testing.T) {
	labenv.Require(t, labenv.Bonding, labenv.NetEm)
	stack := labenv.NewStack(t, labenv.StackOptions{Net: labenv.Options{NICs: 4}, Node: labenv.NodeOptions{
		Config: map[string]any{"sessionLinger": "1s", "interfaces": []map[string]any{
			iface("vlan", "netdev", "san0.*"), iface("bridge", "driver", "bridge"), iface("bond", "mac", bondMAC),
		}},
		Flags: []string{"--metrics-address", metricsAddress},
	}})
	s := &scene{Env: stack.Env, node: stack.Node}
	s.want("vlan NoNIC", "bridge NoNIC", "bond NoNIC")
	s.devices()
	s.want("vlan Compliant", "bridge Compliant", "bond Compliant")
	s.wantTopology(map[string]string{"vlan": "true", "bridge": "true", "bond": "true"})
	if log := s.log(); !strings.Contains(log, "bond9 is a bond (active-backup, transmit hash layer2) of san2, san3") {
		t.Error("the plugin's log does not name the bond for what it is")
	}
	v := s.volume(stack)
	v.Up()
	s.wantSessions(wanted...)
	file := filepath.Join(v.TargetPath, "content")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.LinkDown("san2")
	s.Eventually(10*time.Second, "the bond to fail over", func() bool {
		active, err := os.ReadFile("/sys/class/net/bond9/bonding/active_slave")
		return err == nil && strings.TrimSpace(string(active)) == "san3"
	})
	if err := s.reaches("bond9"); err != nil {
		t.Errorf("after the bond's failover: %v", err)
	}
	if state := s.state("bond"); state != "Compliant" {
		t.Errorf("the bond with one port left is %s", state)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "kept" {
		t.Errorf("content is %q, %v", data, err)
	}
	s.silence()
	s.release(stack, v)
}

// silence takes the VLAN's packets away while its link stays up: what the volume's session shows is looked into.
func (s *scene) silence() {
	s.T.Helper()
	s.Drop("san0")
	took := s.Eventually(20*time.Second, "the session through san0.7 to fail", func() bool {
		return !slices.ContainsFunc(labenv.Sessions(), func(x labenv.Session) bool { return x.NIC == "san0.7" && x.State == "LOGGED_IN" })
	})
	s.T.Logf("the session has failed after %v", took.Round(time.Millisecond))
	s.poke()
	s.want("vlan NoPortalReachable", "bridge Compliant", "bond Compliant")
	s.Undrop("san0")
	s.wantSessions(wanted...)
	s.poke()
	s.want("vlan Compliant")
}

// devices makes the VLAN on san0, the bridge over san1, the bond of san2 and san3, and portals for them.
func (s *scene) devices() {
	s.T.Helper()
	s.T.Cleanup(func() {
		for _, nic := range []string{"brs", "bond9"} {
			_, _ = s.Try("ip", "link", "del", nic)
		}
	})
	s.batch("tgt",
		"link add link br0 name v7 type vlan id 7", "addr add "+vlanPortal+"/24 dev v7", "link set v7 up",
		"addr add "+portal6+"/64 dev br0 nodad")
	s.batch("",
		"link add link san0 name san0.7 type vlan id 7", "addr add 10.97.0.10/24 dev san0.7", "link set san0.7 up",
		"addr flush dev san1", "link add brs type bridge", "link set san1 master brs",
		"addr add 10.99.0.11/24 dev brs", "addr add 2001:db8::11/64 dev brs nodad", "link set brs up",
		"addr flush dev san2", "addr flush dev san3", "link set san2 down", "link set san3 down",
		"link add bond9 address "+bondMAC+" type bond mode active-backup miimon 100",
		"link set san2 master bond9", "link set san3 master bond9", "addr add 10.99.0.12/24 dev bond9", "link set bond9 up")
}

// batch has one ip(8) do it all, in a network namespace: a fork costs 25 ms in User-Mode Linux.
func (s *scene) batch(ns string, lines ...string) {
	s.T.Helper()
	file := filepath.Join(s.T.TempDir(), "ip")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.T.Fatal(err)
	}
	argv := []string{"ip", "-batch", file}
	if ns != "" {
		argv = []string{"ip", "-n", ns, "-batch", file}
	}
	s.Run(argv...)
}

// volume is a LUN that an administrator has made a volume of.
func (s *scene) volume(stack *labenv.Stack) *labenv.Volume {
	s.T.Helper()
	raw := s.RawTarget(target)
	wwid := raw.AddLUN(7, 256<<20)
	for _, p := range []string{vlanPortal, "[" + portal6 + "]"} {
		s.InTarget("mkdir", "/sys/kernel/config/target/iscsi/"+target+"/tpgt_1/np/"+p+":3260")
	}
	portals := []string{vlanPortal + ":3260", s.Net.Portals[0] + ":3260", "[" + portal6 + "]:3260"}
	return stack.Adopt(&csi.Volume{VolumeId: "static/devices", VolumeContext: map[string]string{
		"iqn": target, "portals": strings.Join(portals, ","), "lun": "7", "wwid": "naa." + strings.TrimPrefix(wwid, "3"),
		"interfaces": "vlan,bridge,bond",
	}}, labenv.MountExt4)
}

// wantSessions waits until there are exactly these, each "NIC portal".
func (s *scene) wantSessions(want ...string) {
	s.T.Helper()
	want = slices.Sorted(slices.Values(want))
	var got []string
	defer func() {
		if s.T.Failed() {
			s.T.Logf("sessions: %v", got)
		}
	}()
	took := s.Eventually(30*time.Second, strings.Join(want, ", "), func() bool {
		got = nil
		for _, x := range labenv.Sessions() {
			if x.State == "LOGGED_IN" {
				got = append(got, x.NIC+" "+x.Portal)
			}
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	s.T.Logf("%v after %v", want, took.Round(time.Millisecond))
}

// release takes the volume away and waits until its sessions are gone.
func (s *scene) release(stack *labenv.Stack, v *labenv.Volume) {
	s.T.Helper()
	ctx, cancel := stack.Context(time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{v.Unpublish, v.Unstage, v.ControllerUnpublish} {
		if err := step(ctx); err != nil {
			s.T.Fatal(err)
		}
	}
	s.Eventually(20*time.Second, "unused sessions to log out", func() bool { return len(labenv.Sessions()) == 0 })
}
