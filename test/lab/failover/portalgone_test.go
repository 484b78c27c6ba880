//go:build lab

package failover

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	nodeName = "n1"
	metrics  = "127.0.0.1:9819"
	arrayIQN = "iqn.2001-05.com.example:array1"

	// maxTold is how long after a change an Event may take: a session must have timed out, or a path have stayed, before that.
	maxTold = 15 * time.Second
	// maxAdded is how long after a portal's return a volume may have to wait that was attached without it.
	maxAdded = 10 * time.Second
	// maxNoise is how long a write may take that has nothing to do with what is lost, and waits for the guest's CPU at times: less than
	// the timers of a session that is lost.
	maxNoise = 4 * time.Second
)

// TestPortalGone takes one of two portals away for good, under verified writes: the target host has its address no more. Scorecard
// row 8. Writes go on; health, an Event and metrics say what is lost. Volumes come and go meanwhile as they do otherwise, and one of
// another target, which has the other portal alone, sees nothing of it. When the portal is back after all, so are the paths, and that
// is told.
func TestPortalGone(t *testing.T) {
	p := newPortalLoss(t)
	ctx, cancel := p.Context(time.Hour)
	defer cancel()
	usually := timedStage(ctx, t, p.early)
	p.early.waitPaths(20*time.Second, allPaths)
	before := sessionNumbers()
	t.Logf("longest write so far: %v, of the volume elsewhere %v", p.load.Stall(), p.beside.restart())

	p.address("del")
	gone := time.Now()
	p.told(ctx)
	took := timedStage(ctx, t, p.late)
	atMost(t, "portal gone: stage, usually "+usually.Round(time.Millisecond).String(), took, usually*3/2+2*time.Second)
	must(t, p.late.Publish(ctx))
	degraded(ctx, p.late, p.lost)
	atMost(t, "portal gone: unstage", timed(t, p.early.Unstage), unstageLimit/2)
	time.Sleep(duration(t, "LAB_OUTAGE", faultLasts) - time.Since(gone)) // for how long it is gone
	atMost(t, "portal gone: longest write", p.load.Stall(), maxStall)
	if diff := cmp.Diff(before, sessionNumbers()); diff != "" {
		t.Errorf("sessions before and while the portal was gone (-before +while):\n%s", diff)
	}
	p.beside.untouched(ctx, p.kube)

	p.address("add")
	p.restored(ctx, time.Now())
	p.beside.untouched(ctx, p.kube)
	p.beside.finish()
	atMost(t, "fio's longest write", p.load.Finish().Stall, maxStall)
	must(t, p.early.ControllerUnpublish(ctx))
	must(t, p.early.Delete(ctx))
	p.late.Down()
	p.used.down()
}

// portalLoss is a node with volumes in use over two portals, of which one will be lost.
type portalLoss struct {
	*labenv.Stack
	kube *kube
	lost string
	// used is written to; early and late are not attached yet.
	used, early, late *volume
	load              *labenv.Load
	beside            *journal
}

func newPortalLoss(t *testing.T) *portalLoss {
	t.Helper()
	p := &portalLoss{kube: startKube(t)}
	p.Stack = labenv.NewStack(t, labenv.StackOptions{Initiator: stock, Node: labenv.NodeOptions{
		Name: nodeName, Config: shortLinger().Config, Flags: []string{"--metrics-address", metrics, "--live-policy=false"},
	}})
	p.lost = p.Net.Portals[1]
	ctx, cancel := p.Context(time.Minute)
	defer cancel()
	for name, v := range map[string]**volume{"used": &p.used, "early": &p.early, "late": &p.late} {
		*v = create(p.Stack, name, claimed(name))
		must(t, (*v).ControllerPublish(ctx))
	}
	p.used.Up()
	p.used.waitPaths(20*time.Second, allPaths)
	p.beside = elsewhere(p.Stack, "elsewhere", p.Net.Portals[0])
	p.load = p.Load(p.used.TargetPath, labenv.FioOptions{Size: "8M", Rate: "4m"})
	wantMetrics(p.used, allPaths, "")
	return p
}

// address takes the portal's address from the target host (del), so that nobody answers for it, and gives it back (add).
func (p *portalLoss) address(verb string) {
	p.T.Helper()
	p.Run("ip", "-n", "tgt", "addr", verb, p.lost+"/24", "dev", "br0")
}

// told waits until everything that should says what is lost.
func (p *portalLoss) told(ctx context.Context) {
	p.T.Helper()
	took := p.kube.want(p.Stack, "used", fmt.Sprintf("Warning RedundancyLost 2 of 4 paths are left on node %s: "+
		"san-a (san0): session down to %[2]s:3260; san-b (san1): session down to %[2]s:3260", nodeName, p.lost))
	atMost(p.T, "portal gone: Event", took, maxTold)
	degraded(ctx, p.used, p.lost)
	wantMetrics(p.used, allPaths/2, p.lost)
	resp, err := p.Node.Node.NodeGetStorageHealth(ctx, &csi.NodeGetStorageHealthRequest{})
	must(p.T, err)
	is := resp.GetBackendHealth()
	p.T.Log("health of the storage: ", is)
	if len(is) != 1 || is[0].GetStatus() != csi.StorageHealthErrorType_STORAGE_DEGRADED || !strings.Contains(is[0].GetMessage(), p.lost) {
		p.T.Errorf("health of the storage: %v", is)
	}
}

// restored waits until all is as it was before.
func (p *portalLoss) restored(ctx context.Context, back time.Time) {
	p.T.Helper()
	p.used.waitPaths(time.Minute, allPaths)
	atMost(p.T, "portal back: all paths active", time.Since(back), maxReturn)
	p.kube.want(p.Stack, "used", "Normal RedundancyRestored All 4 paths work again on node "+nodeName)
	atMost(p.T, "portal back: Event", time.Since(back), maxTold)
	wantMetrics(p.used, allPaths, "")
	p.late.waitPaths(time.Minute, allPaths)
	atMost(p.T, "portal back: missing paths added", time.Since(back), maxAdded)
	resp, err := p.Node.Node.NodeGetStorageHealth(ctx, &csi.NodeGetStorageHealthRequest{})
	must(p.T, err)
	if is := resp.GetBackendHealth(); len(is) > 0 {
		p.T.Errorf("health of the storage: %v", is)
	}
	for _, v := range []*volume{p.used, p.late} {
		if is := health(ctx, v); len(is) > 0 {
			p.T.Errorf("health of %s: %v", v.VolumeId, is)
		}
	}
}

// journal is a volume that is written to and should not be touched by what is lost.
type journal struct {
	*labenv.Writer
	v    *volume
	file string
}

// elsewhere is such a volume of another target, which has one portal.
func elsewhere(s *labenv.Stack, name, portal string) *journal {
	s.T.Helper()
	raw := s.RawTargetGroups(arrayIQN, []string{portal})[0]
	v := s.Static(raw, 1, raw.AddLUN(1, 64*mib), []string{portal + ":3260"}, labenv.MountExt4)
	maps.Copy(v.VolumeContext, claimed(name))
	v.Attach()
	j := &journal{v: &volume{Volume: v, s: s, id: v.Map()}, file: filepath.Join(v.TargetPath, "journal")}
	j.v.waitPaths(20*time.Second, allPaths/2)
	j.Writer = s.Writer(j.file)
	return j
}

// restart measures the longest write anew, and gives that of before.
func (j *journal) restart() time.Duration { defer j.ResetStall(); return j.Result().Stall }

// untouched wants all to be as it always was.
func (j *journal) untouched(ctx context.Context, k *kube) {
	t := j.v.s.T
	t.Helper()
	atMost(t, "longest write of the volume elsewhere", j.restart(), maxNoise)
	status, is, told := j.v.s.Run("dmsetup", "status", j.v.id), health(ctx, j.v), k.told("elsewhere")
	if len(neverFailed.FindAllString(status, -1)) != 2 || len(is) > 0 || len(told) > 0 {
		t.Errorf("the volume elsewhere: health %v; its claim was told %q; map %s", is, told, status)
	}
}

// neverFailed is a path in the status of a map that works and always did: device number, state, how often it has failed.
var neverFailed = regexp.MustCompile(`\d+:\d+ A 0\b`)

// finish ends the writing, holds what there is against what was acknowledged, and takes the volume away.
func (j *journal) finish() {
	t := j.v.s.T
	t.Helper()
	if r := j.Stop(30 * time.Second); r.Err != nil || r.Acked == 0 {
		t.Errorf("the volume elsewhere: %d writes, %v", r.Acked, r.Err)
	}
	must(t, j.Verify(j.file))
	j.v.Detach()
}

// wantMetrics waits until as many of the volume's four paths work as the node plugin's metrics have it, and there are no sessions
// to the lost portal.
func wantMetrics(v *volume, working int, lost string) {
	v.s.T.Helper()
	var got map[string]string
	of := fmt.Sprintf(`{namespace=%q,persistentvolumeclaim=%q,volume=%q}`, namespace, v.VolumeContext["csi.storage.k8s.io/pvc/name"], v.VolumeId)
	v.s.Eventually(35*time.Second, fmt.Sprintf("metrics with %d paths", working), func() bool {
		got = scrape(v.s.T)
		return got["portbind_volume_paths_expected"+of] == "4" && got["portbind_volume_paths_working"+of] == fmt.Sprint(working)
	})
	for _, name := range v.s.InterfaceNames() {
		for _, portal := range v.s.Net.Portals {
			_, up := got[fmt.Sprintf(`portbind_sessions{interface=%q,portal="%s:3260",state="logged_in"}`, name, portal)]
			if up != (portal != lost) {
				v.s.T.Errorf("metrics of sessions: %s to %s logged in: %v", name, portal, up)
			}
		}
	}
}

// scrape gives the node plugin's metrics that have labels.
func scrape(t *testing.T) map[string]string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metrics+"/metrics", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	found := map[string]string{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "} "); ok {
			found[name+"}"] = value
		}
	}
	return found
}
