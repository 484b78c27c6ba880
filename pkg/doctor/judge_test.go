package doctor

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	wwid = "naa.60014050000000000000000000000001"
	iqn  = "iqn.2026-11.io.example:t"
	own  = `devices {
	device {
		vendor "^PORTBIND$"
		product "^thin-volume$"
		no_path_retry queue
		fast_io_fail_tmo 1
	}
}
`
)

var (
	portal1 = netip.MustParseAddrPort("10.99.0.1:3260")
	portal2 = netip.MustParseAddrPort("10.99.0.2:3260")
)

// well is a node on which nothing is wrong: two NICs, two portals, a volume with four paths.
func well() Facts {
	s := nodeview.Snapshot{BootID: "boot"}
	f := Facts{
		Node: &s, ISCSID: &ISCSID{Listens: true, PID: 7, Version: "2.1.8"}, Multipathd: &Multipathd{State: "pid 9 idle", Version: "0.9.4"},
		Kernel:    &Kernel{ISCSITCP: true, Cut: tcpcut.SockDestroy},
		Multipath: &MultipathConf{Effective: own, Own: own}, Managed: map[string]bool{"360014050000000000000000000000001": true},
	}
	m := nodeview.Map{Map: sysfs.Map{Device: "dm-0", Name: "3" + wwid[4:], UUID: "mpath-3" + wwid[4:], SizeBytes: 1 << 30}, Queues: true}
	for n, name := range []string{"san-a", "san-b"} {
		nic := []string{"eth2", "eth3"}[n]
		addrs := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(10 + n)}), 24)}
		s.Interfaces.NICs = append(s.Interfaces.NICs, binding.NIC{Name: nic, Kind: "device", MTU: 1500, Addrs: addrs, Up: true, AdminUp: true})
		s.Interfaces.Interfaces = append(s.Interfaces.Interfaces, binding.Interface{Name: name, NIC: nic, Addrs: addrs, Up: true})
		for k, portal := range []netip.AddrPort{portal1, portal2} {
			id := 1 + 2*n + k
			s.Sessions = append(s.Sessions, sysfs.Session{
				ID: id, Host: id, Target: iqn, Iface: "pb-" + name, NIC: nic, State: sysfs.SessionLoggedIn, Portal: portal, Persistent: portal,
			})
			s.Disks = append(s.Disks, sysfs.Disk{
				Name: "sd" + string(rune('a'+id)), HCTL: sysfs.HCTL{Host: id}, WWID: wwid, Major: 8, Minor: uint32(16 * id),
				Vendor: multipath.Vendor, Model: multipath.Product, State: sysfs.DiskRunning,
			})
			m.Paths = append(m.Paths, multipath.PathState{Devno: multipath.Devno{Major: 8, Minor: uint32(16 * id)}, Active: true})
			f.Probes = append(f.Probes, Probe{Interface: name, NIC: nic, Portal: portal, Frame: 1500, PathMTU: 1500, NICMTU: 1500})
		}
	}
	s.Maps = []nodeview.Map{m}
	s.Records = []*staging.Record{{VolumeID: "t/p/v1", Staged: true, BootID: "boot", Attachment: staging.Attachment{
		Target: iqn, Portals: []netip.AddrPort{portal1, portal2}, WWID: wwid, Interfaces: []string{"san-a", "san-b"}, Pairing: "auto",
	}}}
	s.Compliance = compliance.Snapshot{Interfaces: s.Interfaces}
	return f
}

func TestWell(t *testing.T) {
	r := Judge(well())
	if r.ExitStatus() != 0 || r.Severity != OK {
		t.Errorf("%+v", r)
	}
	var text strings.Builder
	if err := r.WriteTable(&text); err != nil || !strings.Contains(text.String(), "all 4 paths work") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// link changes an interface's NIC in all the places that know of it.
func link(f *Facts, up bool) {
	f.Node.Interfaces.Interfaces[0].Up = up
	f.Node.Interfaces.NICs[0].Up = up
	f.Node.Compliance.Interfaces = f.Node.Interfaces
	f.Probes = f.Probes[2:]
}

// loose is a session of somebody else.
func loose(portal string) []Unbound {
	return []Unbound{{
		Session: sysfs.Session{ID: 9, Target: iqn, Iface: "default", Portal: netip.MustParseAddrPort(portal)}, Local: netip.MustParseAddr("10.99.0.10"),
	}}
}

func TestFirstFinding(t *testing.T) {
	refused := errors.New("connection refused")
	tests := map[string]struct {
		change func(f *Facts)
		status int
		check  string
		say    string
	}{
		"iscsid is not installed":          {func(f *Facts) { f.ISCSID = &ISCSID{Missing: true} }, 2, "iscsid", "install open-iscsi"},
		"iscsid does not listen":           {func(f *Facts) { f.ISCSID.Listens = false }, 2, "iscsid", "systemctl enable --now iscsid"},
		"iscsid ended, its socket stays":   {func(f *Facts) { f.ISCSID.PID = 0 }, 2, "iscsid", "though there are sessions"},
		"open-iscsi is old":                {func(f *Facts) { f.ISCSID.Version = "2.0-873" }, 1, "iscsid", "instant failover is off because open-iscsi 2.0-873"},
		"open-iscsi is unknown":            {func(f *Facts) { f.ISCSID.Version = "" }, 0, "iscsid", "instant failover is off because iscsid does not say"},
		"no failover is wanted":            {func(f *Facts) { f.FailoverOff, f.ISCSID.Version = true, "" }, 0, "failover", "instantFailover: true"},
		"sessions without a NIC":           {func(f *Facts) { f.Unbound = loose("10.99.0.1:3260") }, 1, "session", "san-a (eth2), san-b (eth3) share the subnet"},
		"sessions without a NIC elsewhere": {func(f *Facts) { f.Unbound, f.FailoverOff = loose("192.0.2.1:3260"), true }, 0, "failover", ""},
		"another node of that name":        {func(f *Facts) { f.Namesakes, f.ISCSID = []string{"node2"}, &ISCSID{Missing: true} }, 2, "initiator", "node node2 has the same"},
		"multipathd is not installed":      {func(f *Facts) { f.Multipathd = &Multipathd{Missing: true} }, 2, "multipathd", "multipath-tools"},
		"multipathd does not answer":       {func(f *Facts) { f.Multipathd.Err = multipath.ErrNotRunning }, 2, "multipathd", "systemctl enable --now multipathd"},
		"no iscsi_tcp":                     {func(f *Facts) { f.Kernel.ISCSITCP = false }, 2, "kernel", "modprobe iscsi_tcp"},
		"no dm_multipath":                  {func(f *Facts) { f.Kernel.Multipath = multipath.ErrNoKernel }, 2, "kernel", "modprobe dm_multipath"},
		"no configuration":                 {func(f *Facts) { f.Configuration = errors.New("interfaces: empty") }, 2, "configuration", "interfaces: empty"},
		"multipathd is slow":               {func(f *Facts) { f.Unknown = map[string]string{"multipathd": "it took too long"} }, 1, "doctor", "--timeout"},
		"multipathd may not be asked":      {func(f *Facts) { f.Unknown = map[string]string{"multipathd": "permission denied"} }, 1, "doctor", "Run it as root"},
		"no link":                          {func(f *Facts) { link(f, false) }, 2, "interface", "LinkDown"},
		"a NIC that a volume wants": {func(f *Facts) {
			f.Node.Compliance.Interfaces = binding.Resolution{Problems: []binding.Problem{{Interface: "san-a", Err: binding.ErrMissing}}}
		}, 2, "interface", "NoNIC"},
		"a NIC that nobody wants": {func(f *Facts) {
			f.Node.Compliance.Interfaces.Problems = []binding.Problem{{Interface: "other", Err: binding.ErrMissing}}
		}, 1, "interface", "NoNIC"},
		"nothing answers through a NIC": {func(f *Facts) { f.Probes[0].Err, f.Probes[1].Err = refused, refused }, 2, "interface", "NoPortalReachable"},
		"nothing answers at all": {func(f *Facts) {
			for i := range f.Probes {
				f.Probes[i].Err = refused
			}
		}, 2, "portal", "no portal answers through any of san-a (eth2), san-b (eth3)"},
		"a portal answers nobody": {
			func(f *Facts) { f.Probes[1].Err, f.Probes[3].Err = refused, refused }, 2, "portal", "while other portals do through the same interfaces",
		},
		"a portal does not answer one": {func(f *Facts) { f.Probes[1].Err = refused }, 2, "portal", "does not answer through san-a (eth2); it does through san-b"},
		"full packets get lost":        {func(f *Facts) { f.Probes[0].FrameErr = errors.New("lost") }, 2, "mtu", "packets of 1500 bytes do not arrive"},
		"a router with small packets": {func(f *Facts) {
			f.Probes[0].NICMTU, f.Probes[0].Frame = 9000, 9000
		}, 1, "mtu", "the way takes packets of 1500 bytes only, eth2 has MTU 9000"},
		"a target with small packets": {func(f *Facts) {
			f.Probes[0].NICMTU, f.Probes[0].PathMTU = 9000, 9000
		}, 1, "mtu", "the target takes packets of 1500 bytes only, eth2 has MTU 9000"},
		"a session on another NIC": {func(f *Facts) { f.Node.Sessions[0].NIC = "eth9" }, 1, "session", "it runs through eth9, but san-a is eth2 now"},
		"a failed path":            {func(f *Facts) { f.Node.Maps[0].Paths[0].Active = false }, 1, "volume", "3 of 4 paths work"},
		"no path, I/O waits": {func(f *Facts) {
			for i := range f.Node.Maps[0].Paths {
				f.Node.Maps[0].Paths[i].Active = false
			}
		}, 2, "volume", "none of 4 paths works, I/O waits"},
		"a session that the target refuses": {func(f *Facts) {
			f.Node.Sessions[0].State, f.Node.Maps[0].Paths[0].Active = sysfs.SessionFree, false
		}, 1, "volume", "CHAP"},
		"no map":                    {func(f *Facts) { f.Node.Maps = nil }, 2, "volume", "no multipath map"},
		"multipathd misses the map": {func(f *Facts) { f.Managed = map[string]bool{} }, 1, "volume", "multipathd add map 3600"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := well()
			test.change(&f)
			wantFirst(t, Judge(f), test.status, test.check, test.say)
		})
	}
}

func wantFirst(t *testing.T, r Report, status int, check, say string) {
	t.Helper()
	first := r.Findings[0]
	text := strings.Join(append([]string{first.Seen, first.Fix}, first.Evidence...), "\n")
	if r.ExitStatus() != status || first.Check != check || !strings.Contains(text, say) {
		t.Errorf("status %d, first finding %+v", r.ExitStatus(), first)
	}
}

func TestMultipathConf(t *testing.T) {
	tests := map[string]struct {
		conf   MultipathConf
		status int
		say    string
	}{
		"a vendor": {MultipathConf{Effective: own + "blacklist {\n device {\n vendor \".*\"\n }\n}", Own: own}, 2, `blacklist { device { vendor ".*"`},
		"all devices, the usual way": {
			MultipathConf{Effective: own + "blacklist {\n devnode \"^sd\"\n}", Own: own}, 2, `blacklist { devnode "^sd" } fits sdb, sdc, sdd, sde`,
		},
		"all WWIDs":             {MultipathConf{Effective: own + "blacklist {\n wwid .*\n}", Own: own}, 2, `blacklist_exceptions { wwid "^36001405" }`},
		"the protocol":          {MultipathConf{Effective: own + "blacklist {\n protocol \"scsi:.*\"\n}", Own: own}, 2, `protocol "scsi:iscsi"`},
		"the files, the same":   {MultipathConf{Effective: own + "blacklist {\n wwid .*\n}", Own: own, FromFiles: true}, 2, "hides our LUNs"},
		"our section is gone":   {MultipathConf{Effective: "devices {\n}", Own: own}, 1, "does not have the section"},
		"our file is gone":      {MultipathConf{Effective: own}, 1, "portbind.conf is not there"},
		"our section is others": {MultipathConf{Effective: strings.Replace(own, "queue", "12", 1), Own: own}, 1, `no_path_retry is "queue" in the file, "12"`},
		"overrides":             {MultipathConf{Effective: own + "overrides {\n no_path_retry fail\n}", Own: own}, 1, "no_path_retry fail, instead of queue"},
		"friendly names":        {MultipathConf{Effective: own + "defaults {\n user_friendly_names yes\n}", Own: own}, 0, "named by the node"},
		"find_multipaths":       {MultipathConf{Effective: own + "defaults {\n find_multipaths greedy\n}", Own: own}, 0, "takes every disk"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := well()
			f.Multipath = &test.conf
			wantFirst(t, Judge(f), test.status, confCheck, test.say)
		})
	}
}

func TestFriendlyNamesOfOthers(t *testing.T) {
	f := well()
	f.Node.Disks[0].Vendor = "NETAPP"
	f.Multipath.Effective += "defaults {\n user_friendly_names yes\n}"
	wantFirst(t, Judge(f), 1, confCheck, "user_friendly_names no")
}

func TestExcepted(t *testing.T) {
	f := well()
	f.Multipath.Effective += "blacklist {\n wwid .*\n devnode \"!^(sd[a-z]|nvme[0-9])\"\n devnode \"^sda\"\n}\nblacklist_exceptions {\n wwid \"^36001405\"\n}"
	if r := Judge(f); r.ExitStatus() != 0 {
		t.Errorf("%+v", r.Findings[0])
	}
}

func TestNoPortalToTry(t *testing.T) {
	f := well()
	f.Node.Records, f.Probes = nil, nil
	wantFirst(t, Judge(f), 0, "portal", "none was tried")
	f.Portals = []netip.AddrPort{portal1}
	for _, found := range Judge(f).Findings {
		if found.Check == "portal" {
			t.Errorf("%+v", found)
		}
	}
}

func TestBond(t *testing.T) {
	f := well()
	f.Node.Compliance.Interfaces.NICs[0].Kind = "bond"
	f.Node.Compliance.Interfaces.NICs[0].Mode = "balance-xor"
	f.Node.Compliance.Interfaces.NICs[0].Hash = "layer2"
	wantFirst(t, Judge(f), 0, "interface", "bond (balance-xor, transmit hash layer2)")
}

func TestNothingKnown(t *testing.T) {
	r := Judge(Facts{Unknown: map[string]string{"kernel": "it took too long"}})
	if r.ExitStatus() != 1 || len(r.Findings) != 1 {
		t.Errorf("%+v", r)
	}
}
