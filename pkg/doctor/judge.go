package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/hostexec"
)

// Judge makes findings of facts. The result depends on nothing else.
func Judge(f Facts) Report {
	var all []Finding
	for _, check := range []func(Facts) []Finding{
		checkUnknown, checkConfiguration, checkNamesakes, checkKernel, checkISCSID, checkFailover, checkMultipathd, checkMultipathConf,
		checkDuplicates, checkReach, checkInterfaces, checkUnbound, checkPortals, checkLogins, checkSessions, checkVolumes,
	} {
		all = append(all, check(f)...)
	}
	return newReport(all)
}

func checkUnknown(f Facts) []Finding {
	var all []Finding
	for _, what := range slices.Sorted(maps.Keys(f.Unknown)) {
		fix := "Run it as root: in the container of the node plugin, or on the node"
		if f.Unknown[what] == tooLong {
			fix = "Give it more time with --timeout: the node is busy, or what was asked does not answer"
		}
		all = append(all, Finding{
			Severity: Warning, Check: "doctor", Subject: what, Seen: "could not be looked at: " + f.Unknown[what], Fix: fix,
		})
	}
	return all
}

func checkConfiguration(f Facts) []Finding {
	if f.Configuration == nil {
		return nil
	}
	fix := "Correct the file; in a cluster, the chart's values"
	if errors.Is(f.Configuration, fs.ErrNotExist) {
		fix = "Name the node plugin's configuration with --config"
	}
	return []Finding{{
		Severity: Error, Check: "configuration", Seen: "the interfaces are not known: " + f.Configuration.Error(), Fix: fix,
	}}
}

// checkNamesakes comes before what follows from it: sessions that end each other, a plugin that is not registered.
func checkNamesakes(f Facts) []Finding {
	if len(f.Namesakes) == 0 {
		return nil
	}
	return []Finding{{
		Severity: Error, Check: "initiator", Seen: "node " + strings.Join(f.Namesakes, ", ") + " has the same initiator name: the target " +
			"cannot tell them apart, each can write to the other's volumes, and ends the other's sessions",
		Fix: "Give each node its own name, in /etc/iscsi/initiatorname.iscsi (iscsi-iname makes one), and restart iscsid there; " +
			"or set initiatorName to auto while no volume is attached",
	}}
}

func checkKernel(f Facts) []Finding {
	k := f.Kernel
	if k == nil {
		return nil
	}
	all := []Finding{
		{Severity: OK, Check: "kernel", Subject: "iscsi_tcp", Seen: "iSCSI over TCP is there"},
		{Severity: OK, Check: "kernel", Subject: "dm_multipath", Seen: "dm-multipath is there"},
	}
	if !k.ISCSITCP {
		all[0].Severity, all[0].Seen = Error, "the kernel has no iSCSI over TCP"
		all[0].Fix = "modprobe iscsi_tcp; without the module install the modules package of the running kernel (Ubuntu: linux-modules-extra)"
	}
	if k.Multipath != nil {
		all[1].Severity, all[1].Seen = Error, "no dm-multipath: "+k.Multipath.Error()
		all[1].Fix = "modprobe dm_multipath; cloud kernels may lack it: install the distribution's full kernel"
	}
	return all
}

func checkISCSID(f Facts) []Finding {
	d := f.ISCSID
	if d == nil {
		return nil
	}
	finding := Finding{Severity: Error, Check: "iscsid", Fix: "systemctl enable --now iscsid"}
	sessions := f.Node != nil && len(f.Node.Sessions) > 0
	switch {
	case d.Missing:
		finding.Seen, finding.Fix = "open-iscsi is not installed", hostexec.InstallHint("iscsiadm")
	case !d.Listens:
		finding.Seen = "nothing listens on iscsid's socket in this network namespace: no session can be made, lost ones stay lost"
		finding.Fix += "; a container needs the host's network"
	case d.PID == 0 && sessions:
		finding.Seen = "iscsid does not run, though there are sessions: those that get lost stay lost"
	case d.PID == 0:
		finding.Severity, finding.Fix = OK, ""
		finding.Seen = fmt.Sprintf("version %s, started by its socket when it is needed", d.version())
	default:
		finding.Severity, finding.Fix = OK, ""
		finding.Seen = fmt.Sprintf("version %s, process %d", d.version(), d.PID)
	}
	return []Finding{finding}
}

func (d ISCSID) version() string { return orUnknown(d.Version) }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func checkMultipathd(f Facts) []Finding {
	d := f.Multipathd
	if d == nil {
		return nil
	}
	finding := Finding{Severity: Error, Check: "multipathd", Fix: "systemctl enable --now multipathd"}
	switch {
	case d.Missing:
		finding.Seen, finding.Fix = "multipath-tools are not installed", hostexec.InstallHint("multipath")
	case d.Err != nil:
		finding.Seen = "it does not answer: failed paths are not taken back, and no volume can be attached"
		finding.Evidence = []string{d.Err.Error()}
		finding.Fix += "; a container needs the host's network; `journalctl -u multipathd` says why it ended"
	default:
		finding.Severity, finding.Fix = OK, ""
		finding.Seen = fmt.Sprintf("version %s, %s", orUnknown(d.Version), d.State)
	}
	return []Finding{finding}
}
