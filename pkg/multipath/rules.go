package multipath

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What Rules can hold.
const (
	SelectRoundRobin  = "round-robin"
	SelectQueueLength = "queue-length"
	GroupMultibus     = "multibus"
	GroupByPriority   = "group_by_prio"
	GroupFailover     = "failover"

	retryQueue = "queue"
	retryFail  = "fail"
)

// The priorities of paths with a preferred host, and of the others.
const (
	preferredPriority = 50
	otherPriority     = 10
	// maxPriorityArgs is libmultipath's PRIO_ARGS_LEN less its NUL.
	maxPriorityArgs = 254
)

// Rules are how one map differs from Policy. A zero field does not differ.
type Rules struct {
	// Selector picks a path within a group: service-time, SelectRoundRobin or SelectQueueLength.
	Selector string
	// Grouping makes the groups, of which the best that works carries I/O.
	Grouping string
	// Preferred are SCSI hosts: while one of their paths works, no other carries I/O. Prefer says that there is such a wish
	// even if no host meets it now.
	Preferred []int
	Prefer    bool
	// NoPathRetry is "queue", "fail" or a time as time.Duration prints it, which is rounded up to checks of 5 s.
	NoPathRetry string
}

// None says that the map does not differ.
func (r Rules) None() bool {
	return r.Selector == "" && r.Grouping == "" && r.NoPathRetry == "" && !r.Prefer
}

// Queues says whether I/O waits when every path is lost, in a map that would otherwise do as p says.
func (r Rules) Queues(p Policy) bool {
	if r.NoPathRetry == "" {
		return p.Queues()
	}
	return r.NoPathRetry != retryFail
}

// EffectiveGrouping is the grouping that follows.
func (r Rules) EffectiveGrouping() string {
	switch {
	case r.Grouping != "":
		return r.Grouping
	case r.Prefer:
		return GroupByPriority
	}
	return GroupMultibus
}

// render writes the multipath section of the map named id.
func (r Rules) render(id string) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Written by portbind-csi; changes are overwritten.\n")
	fmt.Fprintf(&b, "multipaths {\n\tmultipath {\n\t\twwid %s\n", id)
	lines, err := r.lines()
	if err != nil {
		return nil, err
	}
	for _, kv := range lines {
		fmt.Fprintf(&b, "\t\t%s %s\n", kv[0], kv[1])
	}
	b.WriteString("\t}\n}\n")
	return []byte(b.String()), nil
}

func (r Rules) lines() ([][2]string, error) {
	var lines [][2]string
	if r.Grouping != "" || r.Prefer {
		lines = append(lines, [2]string{"path_grouping_policy", r.EffectiveGrouping()})
	}
	switch r.Selector {
	case "":
	case defaultSelector, SelectRoundRobin, SelectQueueLength:
		lines = append(lines, [2]string{"path_selector", `"` + r.Selector + ` 0"`})
	default:
		return nil, fmt.Errorf("%w: path selector %q", ErrInput, r.Selector)
	}
	switch r.EffectiveGrouping() {
	case GroupMultibus:
	case GroupByPriority, GroupFailover:
		lines = append(lines, r.priority()...)
	default:
		return nil, fmt.Errorf("%w: grouping %q", ErrInput, r.Grouping)
	}
	retry, err := r.retry()
	if retry != "" {
		lines = append(lines, [2]string{"no_path_retry", retry})
	}
	return lines, err
}

// priority is by host where one is preferred, and then I/O goes back when the host is; else by the target's ALUA states, and what
// multipath's tables or the administrator say of going back.
func (r Rules) priority() [][2]string {
	if !r.Prefer {
		return [][2]string{{"prio", "alua"}}
	}
	return [][2]string{{"prio", "weightedpath"}, {"prio_args", `"` + r.priorityArgs() + `"`}, {"failback", "immediate"}}
}

// priorityArgs are expressions over host:channel:id:lun and their priorities; the first that fits counts. With more hosts
// than an argument holds, those with higher numbers count as others.
func (r Rules) priorityArgs() string {
	others := fmt.Sprintf(" .* %d", otherPriority)
	all := ""
	for _, h := range slices.Sorted(slices.Values(r.Preferred)) {
		longer := strings.TrimPrefix(fmt.Sprintf("%s|%d", all, h), "|")
		if len(hostArgs(longer))+len(others) > maxPriorityArgs {
			break
		}
		all = longer
	}
	if all == "" {
		return "hbtl" + others
	}
	return hostArgs(all) + others
}

func hostArgs(hosts string) string { return fmt.Sprintf("hbtl ^(%s): %d", hosts, preferredPriority) }

func (r Rules) retry() (string, error) {
	switch r.NoPathRetry {
	case "", retryQueue, retryFail:
		return r.NoPathRetry, nil
	}
	d, err := time.ParseDuration(r.NoPathRetry)
	if err != nil || d <= 0 {
		return "", fmt.Errorf("%w: no path retry %q", ErrInput, r.NoPathRetry)
	}
	return checks(d), nil
}

// RuleFiles keeps the rules of maps as files beside ours, one a map. A map whose rules were dropped keeps an empty file until
// multipathd has read it: until then multipathd goes by the old rules, should the map come back.
type RuleFiles struct {
	// ConfigFile is our own; the files of maps are in its directory and their names begin as its does.
	ConfigFile string
}

const ruleInfix = "-map-"

// dropped is what an empty file says.
const droppedRules = "# Written by portbind-csi: a volume that had a path policy is gone, and this file goes soon.\n"

func (f RuleFiles) prefix() string { return strings.TrimSuffix(f.ConfigFile, ".conf") + ruleInfix }

func (f RuleFiles) path(id string) string { return f.prefix() + id + ".conf" }

// Put makes the map's file say what r says, and reports whether it had to change. multipathd must then Reconfigure.
func (f RuleFiles) Put(id string, r Rules) (changed bool, err error) {
	if !nameRE.MatchString(id) {
		return false, &Error{Op: "write rules", On: fmt.Sprintf("%q", id), Err: ErrInput}
	}
	if r.None() {
		return f.Drop(id)
	}
	want, err := r.render(id)
	if err != nil {
		return false, &Error{Op: "write rules", On: id, Err: err}
	}
	return f.write(id, want)
}

// Drop empties the map's file, if there is one, and reports whether there is: multipathd may have rules of the map until it
// has read its configuration anew.
func (f RuleFiles) Drop(id string) (there bool, err error) {
	if _, err := os.Stat(f.path(id)); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	_, err = f.write(id, []byte(droppedRules))
	return true, err
}

func (f RuleFiles) write(id string, want []byte) (changed bool, err error) {
	have, err := os.ReadFile(f.path(id))
	if err == nil && bytes.Equal(have, want) {
		return false, nil
	}
	if err := replaceFile(f.path(id), want); err != nil {
		return false, &Error{Op: "write rules", On: id, Err: err}
	}
	return true, nil
}

// IDs lists the maps that have a file.
func (f RuleFiles) IDs() ([]string, error) {
	files, err := filepath.Glob(f.path("*"))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(files))
	for i, file := range files {
		ids[i] = strings.TrimSuffix(strings.TrimPrefix(file, f.prefix()), ".conf")
	}
	return ids, nil
}

// Dropped lists the maps whose file is empty.
func (f RuleFiles) Dropped() ([]string, error) {
	ids, err := f.IDs()
	return slices.DeleteFunc(ids, func(id string) bool { return !f.isDropped(id) }), err
}

func (f RuleFiles) isDropped(id string) bool {
	have, err := os.ReadFile(f.path(id))
	return err == nil && string(have) == droppedRules
}

// Forget removes those of the maps' files that are empty still: multipathd has read them.
func (f RuleFiles) Forget(ids []string) error {
	var errs []error
	for _, id := range ids {
		if !f.isDropped(id) {
			continue
		}
		if err := os.Remove(f.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, &Error{Op: "forget rules", On: id, Err: err})
		}
	}
	return errors.Join(errs...)
}
