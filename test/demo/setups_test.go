//go:build lab

package demo

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	// writeTime is how long each set-up is measured.
	writeTime = 4 * time.Second
	// nicRate is what each NIC is shaped to: slow enough that the NICs, and not the guest's one CPU, are the limit.
	nicRate = "100mbit"
)

// setup is one way of using two NICs.
type setup struct {
	name string
	// arrange changes the node's network and returns what puts it back.
	arrange func(*story) (restore func())
	bound   bool
}

// setups measures each NIC's share of the bytes in the four configurations of the problem: the same volume, the same
// NICs, the same target.
func (s *story) setups() {
	s.out.Step("The four configurations of two NICs, each NIC shaped to %s/s: who carries the bytes?", nicRate)
	for _, nic := range s.Net.NICs {
		s.Shape(nic, nicRate)
	}
	s.vol = s.Create("pvc-setups", gib, labenv.Block, nil)
	var rows [][]string
	for _, c := range []setup{
		{name: "two unbound interfaces in one subnet", arrange: func(*story) func() { return func() {} }},
		{name: "bonding, active-backup", arrange: bond("mode", "active-backup")},
		{name: "bonding, balance-xor, layer-2 hash", arrange: bond("mode", "balance-xor", "xmit_hash_policy", "layer2")},
		{name: "bound ports (Portbind)", arrange: func(*story) func() { return func() {} }, bound: true},
	} {
		share, rate := s.measure(c)
		a, b := share[s.Net.NICs[0]], share[s.Net.NICs[1]]
		rows = append(rows, []string{
			c.name, fmt.Sprintf("%s %3.0f %%", bar(a), 100*a), fmt.Sprintf("%s %3.0f %%", bar(b), 100*b), fmt.Sprintf("%5.1f", rate),
		})
		s.out.Say("%-36s measured", c.name)
		if both := min(a, b) > 0.35; both != c.bound {
			s.t.Fatalf("%s: the NICs carried %.0f %% and %.0f %%", c.name, 100*a, 100*b)
		}
	}
	s.out.Table([]string{"SET-UP", s.Net.NICs[0], s.Net.NICs[1], "MB/s"}, rows)
	for _, nic := range s.Net.NICs {
		s.Shape(nic, "")
	}
	s.out.Step("Clean up again")
	s.timed("DeleteVolume", s.vol.Delete)
	s.nothingLeft()
}

// measure attaches the volume in one set-up, writes, and returns each NIC's share of the bytes and the sum in MB/s.
func (s *story) measure(c setup) (shares map[string]float64, rate float64) {
	restore := c.arrange(s)
	defer restore()
	attach := s.attachUnbound
	if c.bound {
		attach = s.attachBound
	}
	device, detach := attach()
	defer detach()
	since := sample(s.Env, s.Net.NICs)
	fio := s.Fio(device, labenv.FioOptions{RW: "write", BS: "64k", Size: "512M", Depth: 16, NoVerify: true})
	s.Eventually(time.Minute, "fio writes", func() bool { return mib(total(since.sent())) > 4 })
	since = sample(s.Env, s.Net.NICs)
	timer := time.NewTimer(writeTime)
	<-timer.C
	shares, rate = since.shares(), mib(total(since.sent()))/time.Since(since.at).Seconds()
	if r := fio.Stop(); r.Errors != 0 {
		s.t.Fatalf("%s: %d errors: %s", c.name, r.Errors, r.Output)
	}
	return shares, rate
}

// attachBound is the driver's way.
func (s *story) attachBound() (device string, detach func()) {
	s.vol.Up()
	return "/dev/mapper/" + labenv.Maps()[0], func() {
		ctx, cancel := s.Context(time.Minute)
		defer cancel()
		for _, step := range []func(context.Context) error{s.vol.Unpublish, s.vol.Unstage, s.vol.ControllerUnpublish} {
			if err := step(ctx); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// attachUnbound is what an administrator would do by hand: discovery, login to every portal, multipath over the disks.
func (s *story) attachUnbound() (device string, detach func()) {
	s.publish(labenv.InitiatorName())
	s.Run("iscsiadm", "-m", "discovery", "-t", "st", "-I", "default", "-p", s.Net.Portals[0])
	s.Run("iscsiadm", "-m", "node", "-T", s.Target.IQN, "-I", "default", "--login")
	s.Eventually(10*time.Second, "two disks", func() bool { return len(labenv.Disks()) == 2 })
	disks := labenv.Disks()
	s.Run("multipath", "-a", "/dev/"+disks[0])
	s.Eventually(20*time.Second, "a map of two paths", func() bool {
		for _, d := range disks {
			s.Multipathd("add path " + d)
		}
		return len(labenv.Maps()) == 1 && len(labenv.MapPaths(labenv.Maps()[0])) == 2
	})
	name := labenv.Maps()[0]
	return "/dev/mapper/" + name, func() { s.detachUnbound(name, disks) }
}

func (s *story) detachUnbound(name string, disks []string) {
	s.Eventually(20*time.Second, "the map goes", func() bool {
		s.Multipathd("del map " + name)
		return len(labenv.Maps()) == 0
	})
	for _, d := range disks {
		s.Write("/sys/block/"+d+"/device/delete", "1")
	}
	s.Run("multipath", "-w", strings.TrimPrefix(name, "/dev/mapper/"))
	s.Run("iscsiadm", "-m", "node", "-T", s.Target.IQN, "-I", "default", "--logout")
	s.Run("iscsiadm", "-m", "node", "-T", s.Target.IQN, "-I", "default", "-o", "delete")
	_ = os.RemoveAll("/etc/iscsi/send_targets")
	s.unpublish(labenv.InitiatorName())
}

func (s *story) publish(initiator string) {
	s.t.Helper()
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	_, err := s.Controller.Controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: s.vol.VolumeId, NodeId: initiator, VolumeCapability: s.vol.Cap, VolumeContext: s.vol.VolumeContext,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) unpublish(initiator string) {
	s.t.Helper()
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	_, err := s.Controller.Controller.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{
		VolumeId: s.vol.VolumeId, NodeId: initiator,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// bond joins the NICs in a bonding device that has the first one's address.
func bond(options ...string) func(*story) func() {
	return func(s *story) func() {
		s.Run("modprobe", "bonding", "max_bonds=0")
		s.Run(append([]string{"ip", "link", "add", "bond0", "type", "bond", "miimon", "100"}, options...)...)
		for _, nic := range s.Net.NICs {
			s.Run("ip", "addr", "flush", "dev", nic)
			s.Run("ip", "link", "set", nic, "down")
			s.Run("ip", "link", "set", nic, "master", "bond0")
		}
		s.Run("ip", "link", "set", "bond0", "up")
		s.Run("ip", "addr", "add", s.Net.Addrs[0]+"/24", "dev", "bond0")
		s.Eventually(10*time.Second, "the target answers over the bond", func() bool {
			_, err := s.Try("ping", "-c", "1", "-W", "1", s.Net.Portals[0])
			return err == nil
		})
		return func() { unbond(s) }
	}
}

func unbond(s *story) {
	s.Run("ip", "link", "del", "bond0")
	for i, nic := range s.Net.NICs {
		s.Run("ip", "link", "set", nic, "up")
		s.Run("ip", "addr", "add", s.Net.Addrs[i]+"/24", "dev", nic)
	}
	s.Eventually(10*time.Second, "the target answers again", func() bool {
		_, err := s.Try("ping", "-c", "1", "-W", "1", "-I", s.Net.NICs[1], s.Net.Portals[0])
		return err == nil
	})
}
