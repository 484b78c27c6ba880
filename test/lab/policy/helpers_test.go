//go:build lab

// Package policy shows what a volume's path policy does on a real kernel: to the map's table, to the NICs' counters, to I/O
// without any path.
package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	mib      = 1 << 20
	allPaths = 4
)

// newStack is a node as its installation leaves it, but for unused sessions, which go at once.
func newStack(t *testing.T) *labenv.Stack {
	t.Helper()
	return labenv.NewStack(t, labenv.StackOptions{
		Node:      labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}, Flags: []string{"--events=false"}},
		Initiator: labenv.InitiatorOptions{MultipathConf: "# nothing, as Debian installs it\n"},
	})
}

// volume is one with its map.
type volume struct {
	*labenv.Volume
	s *labenv.Stack
}

func create(s *labenv.Stack, name string, c *csi.VolumeCapability, params map[string]string) *volume {
	s.T.Helper()
	return &volume{Volume: s.Create(name, 64*mib, c, params), s: s}
}

// up makes a volume usable and waits until multipathd has all its paths.
func up(s *labenv.Stack, name string, c *csi.VolumeCapability, params map[string]string) *volume {
	s.T.Helper()
	v := create(s, name, c, params)
	v.Up()
	v.settle()
	return v
}

// settle waits until multipathd has adopted the map and likes all its paths.
func (v *volume) settle() {
	v.s.T.Helper()
	v.s.Eventually(time.Minute, "multipathd to have all paths of "+v.Map(), func() bool { return v.ready() == allPaths })
}

// ready counts the paths that multipathd and the kernel use.
func (v *volume) ready() int {
	m, err := multipath.NewClient().Map(context.Background(), v.Map())
	if err != nil {
		return 0
	}
	n := 0
	for _, p := range m.Paths() {
		if p.Checker == "ready" && p.DMState == "active" {
			n++
		}
	}
	return n
}

// shape is a map's table in short.
type shape struct {
	Selector string
	Groups   string // how many paths each has
	Queues   bool
}

func (v *volume) shape() shape {
	t, err := multipath.NewDM("/dev").Table(multipath.UUID(v.Map()))
	if err != nil {
		return shape{Selector: err.Error()}
	}
	s := shape{Selector: t.Selector, Queues: t.Queue}
	var sizes []string
	for _, g := range t.Groups {
		sizes = append(sizes, fmt.Sprint(len(g)))
	}
	s.Groups = strings.Join(sizes, " ")
	return s
}

// wantShape waits for it, and shows what the tools say.
func (v *volume) wantShape(want shape) {
	v.s.T.Helper()
	defer func() {
		v.s.T.Logf("%s: %s\n%s", v.VolumeId, v.s.Run("dmsetup", "table", v.Map()), v.topology())
	}()
	v.s.Eventually(20*time.Second, fmt.Sprintf("table %+v of %s", want, v.VolumeId), func() bool {
		return v.shape() == want
	})
}

func (v *volume) topology() string {
	text, err := multipath.NewClient().Do(context.Background(), "show map "+v.Map()+" topology")
	if err != nil {
		return err.Error()
	}
	return text
}

// modify is what Kubernetes does first for a VolumeAttributesClass.
func (v *volume) modify(params map[string]string) {
	v.s.T.Helper()
	ctx, cancel := v.s.Context(time.Minute)
	defer cancel()
	_, err := v.s.Controller.Controller.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
		VolumeId: v.VolumeId, MutableParameters: params,
	})
	if err != nil {
		v.s.T.Fatal(err)
	}
}

// change is all that Kubernetes does for a VolumeAttributesClass, to a volume that is claimed by its own name.
func (v *volume) change(api *apiServer, claim, class string, params map[string]string) {
	v.s.T.Helper()
	v.modify(params)
	api.give(claim, v.Volume, class, params)
}

// again takes the volume from the node and gives it back.
func (v *volume) again() {
	v.s.T.Helper()
	ctx, cancel := v.s.Context(2 * time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{v.Unpublish, v.Unstage, v.ControllerUnpublish} {
		if err := step(ctx); err != nil {
			v.s.T.Fatal(err)
		}
	}
	v.Up()
	v.settle()
}

// reconfigure is an administrator's "systemctl reload multipathd".
func reconfigure(s *labenv.Stack) {
	s.T.Helper()
	c := multipath.NewClient()
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	if err := c.Reconfigure(ctx); err != nil {
		s.T.Fatal(err)
	}
	s.Eventually(time.Minute, "multipathd to be ready", func() bool { return c.Ready(ctx) == nil })
}

// files lists what we have in multipath's directory.
func files(s *labenv.Stack) []string {
	s.T.Helper()
	return slices.Collect(strings.Lines(s.Run("sh", "-c", "ls /etc/multipath/conf.d")))
}

// slowly has two volumes written to at a low rate, and what was written read back. The end says by how much the longest write or read
// of the first took longer than the second's; nothing may have failed.
func slowly(s *labenv.Stack, first, second *volume) (stop func() time.Duration) {
	s.T.Helper()
	var loads []*labenv.Fio
	for _, v := range []*volume{first, second} {
		loads = append(loads, s.Fio(v.TargetPath, labenv.FioOptions{Size: "8M", Rate: "1m"}))
	}
	for _, fio := range loads {
		s.Eventually(2*time.Minute, "what was written to be read back", func() bool { _, verified := fio.IO(); return verified > mib })
	}
	return func() time.Duration {
		s.T.Helper()
		first, second := end(s.T, loads[0]), end(s.T, loads[1])
		return max(first.Stall, first.ReadStall) - max(second.Stall, second.ReadStall)
	}
}

// end stops a load; it must have gone well.
func end(t *testing.T, fio *labenv.Fio) labenv.FioResult {
	t.Helper()
	r := fio.Stop()
	t.Logf("fio: %d KiB written, %d KiB verified, longest write %v, read %v", r.WrittenBytes>>10, r.ReadBytes>>10, r.Stall, r.ReadStall)
	if r.Errors > 0 || r.WrittenBytes == 0 || r.ReadBytes == 0 {
		t.Errorf("fio: %+v", r)
	}
	return r
}
