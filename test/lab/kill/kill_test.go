//go:build lab

package kill

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

// everyVariable is by how many steps the kills are apart; 1 is every step.
const everyVariable = "LAB_KILL_EVERY"

func stride(t *testing.T) int {
	t.Helper()
	if text := os.Getenv(everyVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%s: a number of at least 1 is needed", everyVariable, text)
		}
		return n
	}
	return 5
}

type rig struct {
	*labenv.Stack
	t     *testing.T
	every int
}

// TestNodePluginKilled kills the node plugin while it stages and unstages. The repeated call converges, and so does the
// opposite one; in the end there is nothing left.
func TestNodePluginKilled(t *testing.T) {
	r := &rig{labenv.NewStack(t, labenv.StackOptions{}), t, stride(t)}
	for name, capability := range map[string]*csi.VolumeCapability{"ext4": labenv.MountExt4, "block": labenv.Block} {
		v := r.Create(name, 320<<20, capability, nil)
		r.must(v.ControllerPublish)
		r.kills(v, call{name: name + ": stage", do: v.Stage, after: func() { r.whole(v) }})
		r.kills(v, call{name: name + ": unstage", before: v.Stage, do: v.Unstage})
		r.must(v.ControllerUnpublish)
		r.must(v.Delete)
	}
}

// call is one that the plugin is killed in.
type call struct {
	name       string
	before, do func(context.Context) error
	after      func()
}

// kills kills at one step after the other. Every second time the call is not repeated: the volume is unstaged at once.
func (r *rig) kills(v *labenv.Volume, c call) {
	r.t.Helper()
	killed := 0
	for step := 1; ; step += r.every {
		if c.before != nil {
			r.must(c.before)
		}
		what := r.killedAt(step, c.do)
		if what == "none" {
			break
		}
		killed++
		r.Node.Start()
		if killed%2 == 1 {
			r.must(c.do)
			if c.after != nil {
				c.after()
			}
		}
		r.must(v.Unstage)
		r.nothingLeft(fmt.Sprintf("%s killed at step %d, as it was to %s", c.name, step, what))
		r.t.Logf("%s: step %3d, killed as it was to %s: converged", c.name, step, what)
	}
	if killed == 0 {
		r.t.Errorf("%s has no step", c.name)
	}
	r.must(v.Unstage)
}

func (r *rig) must(call func(context.Context) error) {
	r.t.Helper()
	ctx, cancel := r.Context(2 * time.Minute)
	defer cancel()
	if err := call(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// killedAt makes the call, with the plugin killed at one step of it: what that was, or "none".
func (r *rig) killedAt(step int, call func(context.Context) error) string {
	r.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killPID+"="+strconv.Itoa(r.Node.PID()), killStep+"="+strconv.Itoa(step))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	r.check(err)
	out, err := cmd.StdoutPipe()
	r.check(err)
	r.check(cmd.Start())
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		r.t.Fatalf("the killer says %q, %v", line, err)
	}
	ctx, cancel := r.Context(2 * time.Minute)
	defer cancel()
	err = call(ctx)
	r.check(in.Close())
	said, _ := io.ReadAll(lines)
	_ = cmd.Wait()
	what, _, _ := strings.Cut(string(said), "\n")
	if what != "none" {
		r.Eventually(10*time.Second, "the plugin is gone", func() bool { return !r.Node.Running() })
	} else if err != nil {
		r.t.Fatalf("undisturbed: %v", err)
	}
	return what
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// whole looks for all paths in the map, and for the mount.
func (r *rig) whole(v *labenv.Volume) {
	r.t.Helper()
	if n := len(labenv.MapPaths(v.Map())); n != 4 {
		r.t.Errorf("%d paths in the map, want 4", n)
	}
	if v.Cap.GetMount() != nil && !slices.Contains(labenv.Mounts(), v.StagingPath) {
		r.t.Errorf("%s is not mounted", v.StagingPath)
	}
}

// nothingLeft looks for mounts, maps, disks and records of volumes. Sessions stay for the next volume.
func (r *rig) nothingLeft(when string) {
	r.t.Helper()
	r.Eventually(10*time.Second, when+": maps and disks gone", func() bool { return len(labenv.Maps())+len(labenv.Disks()) == 0 })
	for _, m := range labenv.Mounts() {
		if strings.HasPrefix(m, "/var/lib/kubelet") {
			r.t.Errorf("%s: still mounted: %s", when, m)
		}
	}
	if records, _ := filepath.Glob(r.Node.StateDir + "/volumes/*"); len(records) > 0 {
		r.t.Errorf("%s: records left: %v", when, records)
	}
}
