package doctor

import (
	"fmt"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/iscsi"
)

// checkFailover says whether I/O leaves a lost link at once.
func checkFailover(f Facts) []Finding {
	if f.FailoverOff {
		return []Finding{{
			Severity: Info, Check: "failover", Seen: "instant failover is turned off: I/O leaves a lost link when the sessions' timers are over",
			Fix: "`instantFailover: true` in the configuration turns it on",
		}}
	}
	var all []Finding
	if f.ISCSID != nil && !f.ISCSID.Missing && !iscsi.NumbersISIDs(f.ISCSID.Version) {
		all = append(all, unknownISIDs(*f.ISCSID))
	}
	if f.Kernel != nil && (len(all) == 0 || f.Kernel.Cut == tcpcut.None) {
		all = append(all, cutting(*f.Kernel))
	}
	return all
}

// unknownISIDs tells of an open-iscsi whose sessions' targets cannot be told that they are over.
func unknownISIDs(d ISCSID) Finding {
	finding := Finding{
		Severity: Warning, Check: "iscsid", Subject: "failover",
		Seen: fmt.Sprintf("instant failover is off because open-iscsi %s may give its sessions other ISIDs than are known since %s: "+
			"I/O leaves a lost link when the sessions' timers are over", d.Version, iscsi.NumberingVersion),
		Fix: "Install a later open-iscsi (RHEL, Fedora: iscsi-initiator-utils)",
	}
	if d.Version == "" {
		finding.Severity = Info
		finding.Seen = "instant failover is off because iscsid does not say its version: I/O leaves a lost link when its timers are over"
		finding.Fix = "See what `iscsid --version` says on the node; " + iscsi.NumberingVersion + " or later is needed"
	}
	return finding
}

// cutting says what this kernel can do.
func cutting(k Kernel) Finding {
	if k.Cut != tcpcut.None {
		return Finding{
			Severity: OK, Check: "kernel", Subject: "failover", Seen: fmt.Sprintf("connections of a lost link can be ended at once (%s)", k.Cut),
		}
	}
	finding := Finding{
		Severity: Info, Check: "kernel", Subject: "failover",
		Seen: "connections of a lost link cannot be ended: I/O moves to another path when the session's timers are over",
		Fix:  "A kernel with CONFIG_INET_DIAG_DESTROY, or Linux 5.6 and later, does it within a second",
	}
	if k.CutErr != nil {
		finding.Evidence = []string{k.CutErr.Error()}
	}
	return finding
}
