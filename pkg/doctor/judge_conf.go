package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/multipath"
)

const confCheck = "multipath.conf"

// checkMultipathConf looks for what is known to go wrong in multipathd's configuration.
func checkMultipathConf(f Facts) []Finding {
	if f.Multipath == nil {
		return nil
	}
	all := parseConf(f.Multipath.Effective)
	luns := lunsOf(f)
	var found []Finding
	for _, check := range [][]Finding{
		checkBlacklist(all, luns), checkOwnSection(*f.Multipath, all), checkOverrides(all), checkDefaults(all, luns),
	} {
		found = append(found, check...)
	}
	if len(found) == 0 {
		found = []Finding{{Severity: OK, Check: confCheck, Seen: "nothing in it hides our LUNs or changes their section"}}
	}
	return found
}

// lunsOf gives the disks of the staged volumes; without any, one as the next would be.
func lunsOf(f Facts) []lun {
	var all []lun
	if f.Node != nil {
		for _, r := range f.Node.Records {
			wwid := f.Node.WWID(r)
			for _, d := range f.Node.Disks {
				if id, known := multipath.ID(wwid); known && d.WWID == wwid {
					all = append(all, lun{disk: d.Name, id: id, vendor: d.Vendor, product: d.Model})
				}
			}
		}
	}
	if len(all) == 0 {
		// The kernel's name is one that no rule for a machine's own disks means.
		return []lun{{disk: "sdzz", id: "36001405" + strings.Repeat("f", 25), vendor: multipath.Vendor, product: multipath.Product}}
	}
	return all
}

func checkBlacklist(all []conf, luns []lun) []Finding {
	var rules []string
	hit := map[string][]string{}
	for _, l := range luns {
		rule := blacklisted(all, l)
		if rule == "" {
			continue
		}
		if hit[rule] == nil {
			rules = append(rules, rule)
		}
		hit[rule] = append(hit[rule], l.disk)
	}
	var found []Finding
	for _, rule := range rules {
		found = append(found, Finding{
			Severity: Error, Check: confCheck, Subject: "blacklist",
			Seen:     "a rule hides our LUNs from multipathd: failed paths are not taken back, and new volumes get no map of it",
			Evidence: []string{"blacklist { " + rule + " } fits " + nameLUNs(hit[rule])},
			Fix:      exception(rule) + ", in /etc/multipath.conf; then `multipathd reconfigure`",
		})
	}
	return found
}

func nameLUNs(disks []string) string {
	if slices.Equal(disks, []string{"sdzz"}) {
		return "the LUNs of portbind-targetd"
	}
	return strings.Join(disks, ", ")
}

// exception is what to write against a rule: an exception holds against rules of its kind only.
func exception(rule string) string {
	switch kind, _, _ := strings.Cut(rule, " "); kind {
	case "devnode":
		return `Take the rule out, or narrow it to the machine's own disks: an exception would have to name "^sd"`
	case "protocol":
		return `Take the rule out, or add blacklist_exceptions { protocol "scsi:iscsi" }`
	case "wwid":
		return `Take the rule out, or add blacklist_exceptions { wwid "^36001405" } (the LUNs of Linux targets)`
	default:
		return fmt.Sprintf(`Add blacklist_exceptions { device { vendor "^%s$" product "^%s$" } }`, multipath.Vendor, multipath.Product)
	}
}

// decisive are the keywords on which failover depends; of others, versions of multipathd print different words.
var decisive = []string{"no_path_retry", "fast_io_fail_tmo", "path_grouping_policy", "path_selector", "user_friendly_names"}

// checkOwnSection compares the section for our LUNs in our file with what multipathd has.
func checkOwnSection(m MultipathConf, all []conf) []Finding {
	finding := Finding{Severity: Warning, Check: confCheck, Subject: "own section"}
	if m.Own == "" {
		finding.Seen = multipath.ConfigFile + " is not there: the paths of our LUNs have multipathd's defaults"
		finding.Fix = "The node plugin writes it when it becomes ready: look at its log; restart it if somebody removed the file"
		return []Finding{finding}
	}
	if m.FromFiles {
		return nil
	}
	want, have := ownDevice(parseConf(m.Own), multipath.Vendor), ownDevice(all, multipath.Vendor)
	if len(have) == 0 {
		finding.Seen = "multipathd does not have the section of " + multipath.ConfigFile
		finding.Fix = "`multipathd reconfigure`; if that does not help, multipath.conf has another config_dir, or the file does not parse"
		return []Finding{finding}
	}
	var differ []string
	for _, key := range decisive {
		if w, got := value(want, key), value(have, key); w != "" && got != w {
			differ = append(differ, fmt.Sprintf("%s is %q in the file, %q in multipathd", key, w, got))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	finding.Seen, finding.Evidence = "multipathd has other values for our LUNs than "+multipath.ConfigFile, differ
	finding.Fix = "`multipathd reconfigure`; if that does not help, another file has a section for the same vendor: take it out"
	return []Finding{finding}
}

// checkOverrides looks for the section that outweighs those of all devices.
func checkOverrides(all []conf) []Finding {
	own := ownDevice(all, multipath.Vendor)
	var differ []string
	for _, c := range within(all, "overrides") {
		if ours := value(own, c.key); ours != "" && ours != c.value {
			differ = append(differ, fmt.Sprintf("%s %s, instead of %s", c.key, c.value, ours))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return []Finding{{
		Severity: Warning, Check: confCheck, Subject: "overrides",
		Seen: "the section overrides outweighs that of our LUNs", Evidence: differ,
		Fix: "Move what is meant for other devices into sections of their own, then `multipathd reconfigure`",
	}}
}

// checkDefaults looks at what only LUNs of others depend on: ours have a section.
func checkDefaults(all []conf, luns []lun) []Finding {
	var found []Finding
	defaults := within(all, "defaults")
	foreign := slices.ContainsFunc(luns, func(l lun) bool { return l.vendor != multipath.Vendor })
	if v := value(defaults, "user_friendly_names"); v == "yes" {
		finding := Finding{
			Severity: Info, Check: confCheck, Subject: "user_friendly_names",
			Seen: "user_friendly_names is yes: maps of static volumes would be named by the node, those of portbind-targetd's are not",
		}
		if foreign {
			finding.Severity = Warning
			finding.Seen = "user_friendly_names is yes, and there are volumes of another target: multipathd may rename their maps"
			finding.Fix = "user_friendly_names no, in defaults or the section of that array"
		}
		found = append(found, finding)
	}
	if v := value(defaults, "find_multipaths"); v == "no" || v == "off" || v == "greedy" {
		found = append(found, Finding{
			Severity: Info, Check: confCheck, Subject: "find_multipaths",
			Seen: "find_multipaths is " + v + ": multipathd takes every disk that is not blacklisted, the machine's own and those of others too",
		})
	}
	return found
}
