//go:build lab

package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/doctor"
	"github.com/portbind/portbind/pkg/view"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	hide     = "/etc/multipath/conf.d/zz-hide.conf"
	hideAll  = "blacklist {\n\tdevice {\n\t\tvendor \".*\"\n\t\tproduct \".*\"\n\t}\n}\n"
	bridge   = "br0"
	smallMTU = "1400"
)

// TestDoctor makes the usual mistakes on a node with a volume; the doctor is to find each, and nothing when there is none.
func TestDoctor(t *testing.T) {
	s := newScene(t)
	v := s.Create("v1", 64<<20, labenv.MountExt4, map[string]string{"interfaces": "san-a,san-b"})
	v.Up()
	s.healthy()
	s.views(v)
	s.contained()
	s.unbound()
	s.network()
	s.duplicate()
	s.refused()
	s.daemons()
	v.Down()
	s.Write(hide, hideAll)
	s.Multipathd("reconfigure")
	s.wantFirst(2, "multipath.conf", "hides our LUNs", `vendor "^PORTBIND$"`)
	s.remove(hide)
	s.Multipathd("reconfigure")
	s.well()
}

// healthy: nothing is wrong, and the bond is named for what it is.
func (s *scene) healthy() {
	s.T.Helper()
	r := s.well()
	s.show(r)
	if f := r.Findings[0]; f.Severity != doctor.Info || !strings.Contains(f.Seen, "bond9 is a bond (active-backup, transmit hash layer2) of san2, san3") {
		s.T.Errorf("the first finding does not name the bond for what it is: %+v", f)
	}
	if text := s.Multipathd("show config"); os.WriteFile(s.Artefacts+"/show-config.txt", []byte(text), 0o600) != nil {
		s.T.Error("multipathd's configuration is not kept")
	}
}

// contained: as in a container whose image has nothing, the host's programs and files are found by themselves.
func (s *scene) contained() {
	s.T.Helper()
	script := `set -e; bin=$1; shift; for d in /etc/multipath /usr/sbin /usr/bin; do /bin/mount -t tmpfs none $d; done; exec "$bin" "$@"`
	argv := []string{"unshare", "--mount", "/bin/sh", "-c", script, "sh", s.Binary("portbind-csi"), "doctor", "--config", s.Node.Config}
	out, err := s.Try(argv...)
	s.T.Logf("\n%s", out)
	if err != nil || !strings.Contains(out, "all 4 paths work") || !strings.Contains(out, "version 0.") {
		s.T.Error(err)
	}
}

// views: two interfaces with two sessions each, four paths, one volume.
func (s *scene) views(v *labenv.Volume) {
	s.T.Helper()
	for _, i := range rows[view.Interface](s, "interfaces") {
		sessions := map[string]int{"san-a": 2, "san-b": 2, "bond": 0}[i.Name]
		counted := i.Sessions == sessions && i.SessionsTotal == sessions && i.SessionsExpected == sessions && i.TxBytes > 0 && i.Flaps != nil
		if i.State != string(compliance.Compliant) || !counted {
			s.T.Errorf("%+v", i)
		}
	}
	sessions := rows[view.Session](s, "sessions")
	var seen []string
	for _, p := range rows[view.Path](s, "paths") {
		seen = append(seen, p.NIC+" "+p.Portal.String()+" "+p.SessionState+" "+p.State)
		if p.Volume != v.VolumeId || p.Map != v.Map() {
			s.T.Errorf("%+v", p)
		}
	}
	var want []string
	for _, nic := range []string{"san0", "san1"} {
		for _, portal := range s.Net.Portals {
			want = append(want, nic+" "+portal+":3260 LOGGED_IN "+attach.StateActive)
		}
	}
	if len(sessions) != len(want) || !slices.Equal(seen, want) {
		s.T.Errorf("%d sessions; paths:\n%s", len(sessions), strings.Join(seen, "\n"))
	}
	volumes := rows[view.Volume](s, "volumes")
	if len(volumes) != 1 || volumes[0].State != view.Whole || volumes[0].Working != 4 || volumes[0].SizeBytes != 64<<20 {
		s.T.Errorf("%+v", volumes)
	}
}

// unbound: somebody logs in as is usual, without naming a NIC.
func (s *scene) unbound() {
	s.T.Helper()
	ours, portal := labenv.Sessions()[0], s.Net.Portals[0]+":3260"
	initiator, err := os.ReadFile(fmt.Sprintf("/sys/class/iscsi_session/session%d/initiatorname", ours.ID))
	if err != nil {
		s.T.Fatal(err)
	}
	node := []string{"iscsiadm", "-m", "node", "-T", ours.Target, "-p", portal, "-I", "loose"}
	s.Run("iscsiadm", "-m", "iface", "-I", "loose", "-o", "new")
	s.Run("iscsiadm", "-m", "iface", "-I", "loose", "-o", "update", "-n", "iface.initiatorname", "-v", strings.TrimSpace(string(initiator)))
	s.Run(append(node, "-o", "new")...)
	s.Run(append(node, "-o", "update", "-n", "node.session.scan", "-v", "manual")...)
	s.Run(append(node, "--login")...)
	s.wantFirst(1, "session", "san-a (san0), san-b (san1), bond (bond9) share the subnet", "to "+portal+" goes out from 10.99.0.1", "iface.net_ifacename")
	s.Run(append(node, "--logout")...)
	s.Run(append(node, "-o", "delete")...)
	s.Run("iscsiadm", "-m", "iface", "-I", "loose", "-o", "delete")
}

// network: a cut cable, the reverse path filter, a portal that is gone, packets that are too large for the way.
func (s *scene) network() {
	s.T.Helper()
	s.LinkDown("san0")
	s.wantFirst(2, "interface", "san-a (san0)", "LinkDown", "cable")
	s.LinkUp("san0")
	for _, nic := range []string{"all", "san0", "san1"} {
		s.sysctl(nic, "rp_filter", "1")
	}
	s.wantFirst(2, "interface", "san-b (san1)", "FilteredByRPFilter", "sysctl -w net.ipv4.conf.san1.rp_filter=2")
	for _, nic := range []string{"all", "san0", "san1"} {
		s.sysctl(nic, "rp_filter", "2")
	}
	gone := s.Net.Portals[1]
	s.Run("ip", "-n", "tgt", "addr", "del", gone+"/24", "dev", bridge)
	s.wantFirst(2, "portal", gone, "does not answer, while other portals do", "target host")
	s.Run("ip", "-n", "tgt", "addr", "add", gone+"/24", "dev", bridge)
	s.Run("ip", "-n", "tgt", "link", "set", "p0", "mtu", smallMTU)
	s.wantFirst(1, "mtu", "san-a (san0)", "the target takes packets of 1400 bytes only") // a bridge goes by its smallest port
	// As a switch does, it keeps its MTU: the target believes in large packets, and they get lost.
	s.Run("ip", "-n", "tgt", "link", "set", bridge, "mtu", "1500")
	s.wantFirst(2, "mtu", "san-a (san0)", "packets of 1500 bytes do not arrive")
	s.Run("ip", "-n", "tgt", "link", "set", "p0", "mtu", "1500")
	s.well()
}

// duplicate: another machine in the storage network has the address of san0.
func (s *scene) duplicate() {
	s.T.Helper()
	s.Run("ip", "netns", "add", "rogue")
	defer s.Run("ip", "netns", "del", "rogue")
	for _, line := range []string{
		"-n tgt link add rogue0 type veth peer name rogue1 netns rogue", "-n tgt link set rogue0 master " + bridge, "-n tgt link set rogue0 up",
		"-n rogue addr add " + s.Net.Addrs[0] + "/24 dev rogue1", "-n rogue link set rogue1 up",
	} {
		s.Run(append([]string{"ip"}, strings.Fields(line)...)...)
	}
	s.wantFirst(2, "address", "san-a (san0)", "another machine, with the MAC address", "has "+s.Net.Addrs[0]+" too")
}

// refused: the target wants CHAP all of a sudden, and the sessions of a NIC that was away cannot come back.
func (s *scene) refused() {
	s.T.Helper()
	authentication := fmt.Sprintf("/sys/kernel/config/target/iscsi/%s/tpgt_1/acls/%s/attrib/authentication", labenv.Sessions()[0].Target, s.NodeID)
	s.Write(authentication, "-1") // what the portal group has, which demands it of everybody
	s.lose("san0")
	s.Eventually(30*time.Second, "the portals answer over the NIC again", func() bool {
		r, _ := s.doctor()
		return !slices.ContainsFunc(r.Findings, func(f doctor.Finding) bool { return f.Check == "portal" && f.Severity != doctor.OK })
	})
	s.wantFirst(2, "chap", "10.99.0.1:3260 through san-a (san0)", "refuses the CHAP user or secret", "the target wants CHAP, and there is no secret for it", "Secret")
	s.Write(authentication, "0")
	s.well()
}

// lose has a NIC without a link until its sessions are lost, and then with one.
func (s *scene) lose(nic string) {
	s.T.Helper()
	s.LinkDown(nic)
	s.Eventually(time.Minute, "its sessions are lost", func() bool {
		return !slices.ContainsFunc(labenv.Sessions(), func(x labenv.Session) bool { return x.NIC == nic && x.State == "LOGGED_IN" })
	})
	s.LinkUp(nic)
}

// daemons: one that does not run; multipathd's files are read then.
func (s *scene) daemons() {
	s.T.Helper()
	s.Initiator.Multipathd.Stop()
	s.Write(hide, hideAll)
	r := s.wantFirst(2, "multipathd", "does not answer", "systemctl enable --now multipathd")
	if f := r.Findings[1]; f.Check != "multipath.conf" || !strings.Contains(f.Seen, "hides our LUNs") {
		s.T.Errorf("the second finding is %+v", f)
	}
	s.remove(hide)
	s.Initiator.Multipathd.Start()
	s.Initiator.ISCSID.Stop()
	s.wantFirst(2, "iscsid", "systemctl enable --now iscsid")
	s.Initiator.ISCSID.Start()
	s.well()
}
