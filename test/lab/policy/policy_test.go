//go:build lab

package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// kind is a policy and the table that it makes.
type kind struct {
	name   string
	params map[string]string
	want   shape
}

// TestSelectors and TestGroupings: each selector and grouping is in the kernel's table, stays there when multipathd is
// reloaded, and neighbours with other policies, or none, are left as they are.
func TestSelectors(t *testing.T) {
	together(t, []kind{
		{"plain", nil, shape{"service-time", "4", true}},
		{"rr", map[string]string{"pathSelector": "round-robin", "noPathRetry": "5m"}, shape{"round-robin", "4", true}},
		{"ql", map[string]string{"pathSelector": "queue-length", "noPathRetry": "fail"}, shape{"queue-length", "4", false}},
		{"st", map[string]string{"pathSelector": "service-time", "noPathRetry": "queue"}, shape{"service-time", "4", true}},
	})
}

func TestGroupings(t *testing.T) {
	together(t, []kind{
		{"multi", map[string]string{"pathGroupingPolicy": "multibus"}, shape{"service-time", "4", true}},
		{"prio", map[string]string{"pathGroupingPolicy": "group_by_prio"}, shape{"service-time", "4", true}},
		{"over", map[string]string{"pathGroupingPolicy": "failover"}, shape{"service-time", "1 1 1 1", true}},
		{"fixed", map[string]string{"preferredInterface": "san-b"}, shape{"service-time", "2 2", true}},
	})
}

// together has raw volumes of all kinds attached at once; nobody has them open.
func together(t *testing.T, kinds []kind) {
	t.Helper()
	s := newStack(t)
	var volumes []*volume
	for _, k := range kinds {
		volumes = append(volumes, create(s, k.name, labenv.Block, k.params))
	}
	for _, v := range volumes {
		v.Up()
	}
	for i, v := range volumes {
		v.settle()
		v.wantShape(kinds[i].want)
	}
	reconfigure(s)
	for i, v := range volumes {
		v.wantShape(kinds[i].want)
		if n := v.ready(); n != allPaths {
			t.Errorf("%s has %d paths after a reload", v.VolumeId, n)
		}
	}
	for _, v := range volumes {
		v.Down()
	}
	s.Tidy()
}

// TestModify: a change is kept at the target and holds from the next publish on, in both directions.
func TestModify(t *testing.T) {
	s := newStack(t)
	v := up(s, "modify", labenv.MountExt4, map[string]string{"pathSelector": "round-robin"})
	v.wantShape(shape{"round-robin", "4", true})
	v.modify(map[string]string{"pathSelector": "queue-length", "preferredInterface": "san-a", "noPathRetry": "fail"})
	v.wantShape(shape{"round-robin", "4", true})
	s.Controller.Stop()
	s.Controller.Start()
	v.again()
	v.wantShape(shape{"queue-length", "2 2", false})
	v.modify(map[string]string{"pathSelector": "", "preferredInterface": "", "noPathRetry": ""})
	v.again()
	v.wantShape(shape{"service-time", "4", true})
	v.Down()
	if left := files(s); !slices.Equal(left, []string{"portbind.conf\n"}) {
		t.Errorf("in conf.d: %q", left)
	}
	s.Tidy()
}

// TestPreferred: with all paths well only the preferred NIC carries I/O; its link is cut, and the other does; it is back, and
// so is the I/O.
func TestPreferred(t *testing.T) {
	s := newStack(t)
	v := up(s, "fixed", labenv.MountExt4, map[string]string{"preferredInterface": "san-b"})
	other, preferred := s.Net.NICs[0], s.Net.NICs[1]
	v.wantShape(shape{"service-time", "2 2", true})
	fio := s.Fio(v.TargetPath, labenv.FioOptions{Size: "16M", Rate: "8m"})
	carries := func(nic, idle string) func() bool {
		return func() bool { return sentIn(s, nic, time.Second) > mib && sentIn(s, idle, time.Second) < mib/8 }
	}
	s.Eventually(30*time.Second, "the preferred NIC alone to carry I/O", carries(preferred, other))
	a, b := sentIn(s, preferred, 5*time.Second), sentIn(s, other, 5*time.Second)
	t.Logf("all well: preferred %d KiB, other %d KiB in 5 s each", a>>10, b>>10)
	s.LinkDown(preferred)
	t.Log("other carries after", s.Eventually(30*time.Second, "the other NIC to carry I/O", carries(other, preferred)))
	s.LinkUp(preferred)
	t.Log("failed back after", s.Eventually(time.Minute, "the I/O to fail back", carries(preferred, other)))
	v.settle()
	v.wantShape(shape{"service-time", "2 2", true})
	if r := fio.Stop(); r.Errors > 0 || r.WrittenBytes == 0 || r.ReadBytes == 0 {
		t.Errorf("fio: %+v", r)
	} else {
		t.Logf("fio: %d MiB written, %d MiB verified, longest write %v", r.WrittenBytes/mib, r.ReadBytes/mib, r.Stall)
	}
	v.Down()
	s.Tidy()
}

// sentIn is how many bytes a NIC sends in a while.
func sentIn(s *labenv.Stack, nic string, d time.Duration) uint64 {
	s.T.Helper()
	_, before := s.Bytes(nic)
	time.Sleep(d) // what is measured is a rate
	_, after := s.Bytes(nic)
	return after - before
}

// TestNoPathRetry cuts all links: I/O of "fail" ends when the paths are known dead, that of "30s" 30 s after, that of the
// default goes on when the links are back. One that was made with the default, and given "fail" while it was written to, ends too.
func TestNoPathRetry(t *testing.T) {
	api := startAPI(t)
	s := newStack(t)
	cases := map[string]struct {
		value       string
		least, most time.Duration
	}{
		"fail":    {"fail", 0, 12 * time.Second},
		"changed": {"", 0, 12 * time.Second},
		"30s":     {"30s", 30 * time.Second, 45 * time.Second},
		"default": {"", 0, 0},
	}
	volumes, writers := map[string]*volume{}, map[string]*labenv.Writer{}
	for name, c := range cases {
		v := up(s, name, labenv.Block, claimed(name, map[string]string{"noPathRetry": c.value}))
		volumes[name], writers[name] = v, s.Writer(v.TargetPath)
	}
	volumes["changed"].change(api, "changed", "fail", map[string]string{"noPathRetry": "fail"})
	volumes["changed"].wantShape(shape{"service-time", "4", false})
	for _, w := range writers {
		s.Eventually(20*time.Second, "writes", func() bool { return w.Result().Acked > 50 })
	}
	for _, nic := range s.Net.NICs {
		s.LinkDown(nic)
	}
	cut := time.Now()
	for _, name := range []string{"fail", "changed", "30s"} {
		w := writers[name]
		s.Eventually(time.Minute, "an error with "+name, func() bool { return w.Result().Err != nil })
		took := time.Since(cut)
		t.Logf("noPathRetry %s: %v after %v", name, w.Result().Err, took.Round(10*time.Millisecond))
		if c := cases[name]; took < c.least || took > c.most {
			t.Errorf("noPathRetry %s: wanted from %v to %v", name, c.least, c.most)
		}
	}
	queued := writers["default"]
	if err := queued.Result().Err; err != nil {
		t.Errorf("without a limit: %v", err)
	}
	for _, nic := range s.Net.NICs {
		s.LinkUp(nic)
	}
	before := queued.Result().Acked
	s.Eventually(time.Minute, "writes to go on", func() bool { return queued.Result().Acked > before+10 })
	for name, w := range writers {
		w.Stop(10 * time.Second)
		volumes[name].settle()
		volumes[name].Down()
	}
	s.Tidy()
}

// TestLive changes the policy of a volume while it is written to, by its class, as Kubernetes does: the map in use is changed, and
// changed back, no I/O fails, and none waits much longer than that of a neighbour, which has no class and stays as it is. The policy
// stays over a restart of the plugin, which also learns what changed meanwhile, and when the kubelet stages again with what
// it was told at first. Last comes a control: a map that is held up for a while is seen in the same way.
func TestLive(t *testing.T) {
	const most = 3 * time.Second
	api := startAPI(t)
	s := newStack(t)
	v := up(s, "busy", labenv.MountExt4, claimed("busy", nil))
	neighbour := up(s, "neighbour", labenv.MountExt4, claimed("neighbour", nil))
	plain := shape{"service-time", "4", true}
	stop := slowly(s, v, neighbour)
	for i, change := range []struct {
		params map[string]string
		want   shape
	}{
		{map[string]string{"pathSelector": "round-robin", "preferredInterface": "san-a"}, shape{"round-robin", "2 2", true}},
		{map[string]string{"preferredInterface": "", "noPathRetry": "fail"}, shape{"round-robin", "4", false}},
	} {
		v.modify(change.params)
		began := time.Now()
		api.give("busy", v.Volume, fmt.Sprintf("class-%d", i), change.params)
		v.wantShape(change.want)
		t.Logf("change %d after %v", i, time.Since(began).Round(10*time.Millisecond))
	}
	s.Node.Kill()
	v.change(api, "busy", "while-away", map[string]string{"preferredInterface": "san-b"})
	s.Node.Start()
	last := shape{"round-robin", "2 2", false}
	v.wantShape(last)
	v.stageAgain()
	if got := v.shape(); got != last {
		t.Errorf("after a repeated stage: %+v", got)
	}
	neighbour.wantShape(plain)
	if longer := stop(); longer > most {
		t.Errorf("the longest write or read took %v longer than the neighbour's", longer)
	}

	stop = slowly(s, v, neighbour)
	s.Run("dmsetup", "suspend", "--noflush", "--nolockfs", v.Map())
	time.Sleep(2 * most) // what is shown is a stall
	s.Run("dmsetup", "resume", v.Map())
	if longer := stop(); longer <= most {
		t.Errorf("control: the longest write or read of a map that was held up took %v longer than the neighbour's", longer)
	}
	for _, all := range []*volume{v, neighbour} {
		all.settle()
		all.Down()
	}
	s.Tidy()
}

// TestWhileWriting: a volume with a policy is attached while another is in use and a NIC is away. A volume in use that is published and
// staged anew takes the policy of now.
func TestWhileWriting(t *testing.T) {
	s := newStack(t)
	v := up(s, "busy", labenv.MountExt4, nil)
	fio := s.Fio(v.TargetPath, labenv.FioOptions{Size: "16M", Rate: "4m"})
	v.modify(map[string]string{"preferredInterface": "san-a", "noPathRetry": "5m"})
	v.restage()
	v.wantShape(shape{"service-time", "2 2", true})
	s.LinkDown(s.Net.NICs[1])
	s.Eventually(30*time.Second, "half of the paths to be lost", func() bool { return v.ready() == allPaths/2 })
	late := create(s, "late", labenv.Block, map[string]string{"pathSelector": "queue-length", "preferredInterface": "san-b"})
	late.Up()
	s.LinkUp(s.Net.NICs[1])
	for _, all := range []*volume{v, late} {
		all.settle()
	}
	late.wantShape(shape{"queue-length", "2 2", true})
	end(t, fio)
	for _, all := range []*volume{v, late} {
		all.Down()
	}
	s.Tidy()
}

// restage publishes and stages a volume that is there already.
func (v *volume) restage() {
	v.s.T.Helper()
	ctx, cancel := v.s.Context(time.Minute)
	defer cancel()
	if err := v.ControllerPublish(ctx); err != nil {
		v.s.T.Fatal(err)
	}
	if err := v.Stage(ctx); err != nil {
		v.s.T.Fatal(err)
	}
}

// stageAgain repeats the first stage, as a kubelet does that was restarted.
func (v *volume) stageAgain() {
	v.s.T.Helper()
	ctx, cancel := v.s.Context(time.Minute)
	defer cancel()
	if err := v.Stage(ctx); err != nil {
		v.s.T.Fatal(err)
	}
}
