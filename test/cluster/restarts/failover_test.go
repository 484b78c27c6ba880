//go:build cluster

package restarts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const (
	claims = 10
	pods   = 4 // of the claims, and as many snapshots
	// whole is the limit of a step that is interrupted: sidecars repeat after ever longer pauses, of a minute at most.
	whole = 2 * clusterenv.Limit
)

// Row 24 of the scorecard, on the cluster: in the middle of provisioning, publishing, snapshots, unpublishing and deleting, the
// controller that leads is deleted and portbind-targetd is killed. Everything is done in the end, and once.
func TestFailOver(t *testing.T) {
	f := failOver{clusterenv.New(t)}
	f.step("claims", f.create, func() int { return len(f.volumes("pbv_")) }, 1, claims)
	f.Kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "persistentvolumeclaim", "--all", "--timeout="+clusterenv.Limit.String())
	f.wantVolumes("pbv_", f.handles("persistentvolumes", "{.spec.csi.volumeHandle}"))
	f.step("pods", f.publish, f.luns, 1, pods)
	f.Ready(names("pod", pods)...)
	f.step("snapshots", f.snapshot, func() int { return len(f.volumes("pbs_")) }, 1, pods)
	f.Kubectl("wait", "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot", "--all", "--timeout="+clusterenv.Limit.String())
	f.wantVolumes("pbs_", f.handles("volumesnapshotcontents", "{.status.snapshotHandle}"))
	f.step("pods deleted", func() { f.Kubectl("delete", "--wait=false", "pod", "--all") }, f.luns, pods-1, 0)
	deletion := func() { f.Kubectl("delete", "--wait=false", "volumesnapshot,persistentvolumeclaim", "--all") }
	f.step("claims and snapshots deleted", deletion, func() int { return len(f.volumes("pb")) }, claims+pods-1, 0)
	f.DriverReady()
}

type failOver struct{ *clusterenv.Env }

// step begins something and waits until the count has come from where it was to middle; then the leader is deleted and
// portbind-targetd killed. It ends when the count is the last.
func (f failOver) step(what string, begin func(), count func() int, middle, last int) {
	f.T.Helper()
	up := last > middle
	began := time.Now()
	begin()
	var n int
	f.Eventually(clusterenv.Limit, what+": the first", func() bool {
		n = count()
		return up && n >= middle || !up && n <= middle
	})
	f.T.Logf("%s: at %d on the way to %d", what, n, last)
	f.Target.Run("pkill", "-KILL", "-x", "portbind-target") // comm has 15 characters
	leader := f.leader()
	f.Driver("delete", "--wait=false", "pod", leader)
	f.Eventually(whole, fmt.Sprintf("%s: %d", what, last), func() bool { return count() == last })
	f.T.Logf("%s: %d after %.1f s, without %s", what, last, time.Since(began).Seconds(), leader)
}

// leader is the pod whose provisioner leads.
func (f failOver) leader() string {
	f.T.Helper()
	return f.Driver("get", "lease", "iscsi-portbind-io", "--output", "jsonpath={.spec.holderIdentity}")
}

func (f failOver) create() {
	var all []string
	for _, name := range names("data", claims) {
		all = append(all, clusterenv.Claim{Name: name, Class: "portbind-immediate"}.Manifest())
	}
	f.Apply(all...)
}

func (f failOver) publish() {
	var all []string
	for i, name := range names("pod", pods) {
		node := fmt.Sprintf("node%d", 1+i%2)
		all = append(all, clusterenv.Pod{Name: name, Node: node, Claim: fmt.Sprintf("data-%d", i)}.Manifest())
	}
	f.Apply(all...)
}

func (f failOver) snapshot() {
	var all []string
	for i, name := range names("snap", pods) {
		all = append(all, clusterenv.Snapshot(name, fmt.Sprintf("data-%d", i)))
	}
	f.Apply(all...)
}

// volumes are the logical volumes on the target host whose names have the prefix.
func (f failOver) volumes(prefix string) []string {
	f.T.Helper()
	return slices.DeleteFunc(strings.Fields(f.Target.Run("lvs", "--noheadings", "-o", "lv_name")),
		func(lv string) bool { return !strings.HasPrefix(lv, prefix) })
}

// luns counts those of the target that initiators see.
func (f failOver) luns() int {
	f.T.Helper()
	out := f.Target.Run("sh", "-c", "ls -d /sys/kernel/config/target/iscsi/iqn*/tpgt_*/acls/iqn*/lun_* 2>/dev/null || true")
	return len(strings.Fields(out))
}

// handles are what the driver calls things of a kind, less target and pool.
func (f failOver) handles(kind, field string) []string {
	f.T.Helper()
	all := strings.Fields(f.Kubectl("get", kind, "--output", `jsonpath={range .items[*]}`+field+`{"\n"}{end}`))
	for i, handle := range all {
		all[i] = handle[strings.LastIndex(handle, "/")+1:]
	}
	return all
}

// wantVolumes expects one logical volume for each handle, and no other.
func (f failOver) wantVolumes(prefix string, handles []string) {
	f.T.Helper()
	for i := range handles {
		handles[i] = prefix + handles[i]
	}
	slices.Sort(handles)
	got := f.volumes(prefix)
	slices.Sort(got)
	if diff := cmp.Diff(handles, got); diff != "" {
		f.T.Errorf("logical volumes (-wanted +there):\n%s", diff)
	}
}

func names(what string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", what, i))
	}
	return all
}
