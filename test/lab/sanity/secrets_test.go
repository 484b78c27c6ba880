//go:build lab

package sanity

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

// marker is in every secret, and nowhere else.
const marker = "zQ7hunter2"

var secrets = map[string]string{
	"node.session.auth.username": "lab-node", "node.session.auth.password": "one-" + marker,
	"node.session.auth.username_in": "lab-target", "node.session.auth.password_in": "two-" + marker,
}

// TestNoSecrets takes a volume through its life with CHAP, rightly and wrongly, while it looks at the arguments and
// environments of all programs; then at logs, contexts, errors and files.
func TestNoSecrets(t *testing.T) {
	s := labenv.NewStack(t, labenv.StackOptions{
		Target: labenv.TargetOptions{CHAP: "required"},
		Node:   labenv.NodeOptions{Flags: []string{"-v", "10"}, Config: map[string]any{"sessionLinger": "1s"}},
	})
	stop := watchPrograms(t)
	said := life(t, s)
	for _, found := range stop() {
		t.Errorf("a secret is in %s", found)
	}
	for what, text := range said {
		if strings.Contains(text, marker) {
			t.Errorf("a secret is in the %s: %s", what, text)
		}
	}
	for _, leak := range leaks(t, s) {
		t.Errorf("a secret is in %s", leak)
	}
	s.Tidy()
}

// life gives all that the driver answered, by what it is.
func life(t *testing.T, s *labenv.Stack) map[string]string {
	t.Helper()
	ctx, cancel := s.Context(5 * time.Minute)
	defer cancel()
	v := s.Create("secrets", 64<<20, labenv.MountExt4, nil)
	said := map[string]string{"volume": v.String()}
	refused := func(what string, m map[string]string, call func(context.Context) error) {
		t.Helper()
		v.Secrets = m
		err := call(ctx)
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		said["error of "+what] = err.Error()
		v.Secrets = secrets
	}
	refused("a secret with a line break", with("node.session.auth.password", marker+"\nnode.startup = automatic"), v.ControllerPublish)
	refused("an unknown key", with("password", marker), v.ControllerPublish)
	refused("a short secret", with("node.session.auth.password", marker), v.ControllerPublish)
	v.Secrets = secrets
	if err := v.ControllerPublish(ctx); err != nil {
		t.Fatal(err)
	}
	said["publish context"] = fmt.Sprint(v.PublishContext)
	refused("a wrong secret", with("node.session.auth.password", "wrong-"+marker), v.Stage)
	refused("no secret", nil, v.Stage)
	v.Up()
	checkRecords(t)
	grow(ctx, t, s, v)
	v.Down()
	return said
}

// with changes one secret.
func with(key, value string) map[string]string {
	m := maps.Clone(secrets)
	m[key] = value
	return m
}

func grow(ctx context.Context, t *testing.T, s *labenv.Stack, v *labenv.Volume) {
	t.Helper()
	size := &csi.CapacityRange{RequiredBytes: 128 << 20}
	_, err := s.Controller.Controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: v.VolumeId, CapacityRange: size, Secrets: secrets,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Node.Node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
		VolumeId: v.VolumeId, VolumePath: v.TargetPath, StagingTargetPath: v.StagingPath, CapacityRange: size, VolumeCapability: v.Cap,
		Secrets: secrets,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkRecords finds the secrets in open-iscsi's records, where they must be, and wants them readable by root only.
func checkRecords(t *testing.T) {
	t.Helper()
	found := 0
	err := filepath.WalkDir("/etc/iscsi", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !holds(path) {
			return err
		}
		found++
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has secrets and mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if found == 0 {
		t.Error("no open-iscsi record has the secrets: the search finds nothing")
	}
}

func holds(path string) bool {
	raw, err := os.ReadFile(path)
	return err == nil && bytes.Contains(raw, []byte(marker))
}

// leaks looks through the logs of all daemons, the kernel's, the node's state and metrics.
func leaks(t *testing.T, s *labenv.Stack) (found []string) {
	t.Helper()
	looked := 0
	look := func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		looked++
		if holds(path) {
			found = append(found, path)
		}
		return nil
	}
	for _, dir := range []string{s.Artefacts, s.Node.StateDir, "/run/portbind", "/var/log"} {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := filepath.WalkDir(dir, look); err != nil {
			t.Error(err)
		}
	}
	if looked < 5 {
		t.Errorf("looked at %d files only", looked)
	}
	if strings.Contains(s.Run("dmesg"), marker) {
		found = append(found, "the kernel's log")
	}
	return found
}

// watchPrograms reads the arguments and environments of all processes, over and over, until the function that it
// returns is called, which gives what was found.
func watchPrograms(t *testing.T) (stop func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w := &watcher{looks: map[string]int{}, programs: map[string]bool{}, found: map[string]bool{}}
	var wg sync.WaitGroup
	rounds := 0
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			rounds++
			w.look()
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return func() []string {
		cancel()
		wg.Wait()
		t.Logf("looked %d times, saw %d programs", rounds, len(w.programs))
		if !w.programs["iscsiadm"] {
			t.Error("iscsiadm was never seen: the search is too slow to find anything")
		}
		return slices.Sorted(maps.Keys(w.found))
	}
}

const enoughLooks = 20

// watcher has what was seen of processes.
type watcher struct {
	// looks counts how often each process was looked at. Its arguments change when it starts a program, which it does
	// soon or never: a few times are enough, and leave time for the new ones.
	looks           map[string]int
	programs, found map[string]bool
}

func (w *watcher) look() {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer func() { _ = proc.Close() }()
	names, _ := proc.Readdirnames(-1)
	for _, pid := range names {
		if pid[0] >= '1' && pid[0] <= '9' {
			w.lookAt(pid)
		}
	}
}

func (w *watcher) lookAt(pid string) {
	if w.looks[pid] == enoughLooks {
		return
	}
	w.looks[pid]++
	raw, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(raw) == 0 {
		return
	}
	program, _, _ := strings.Cut(string(raw), "\x00")
	w.programs[filepath.Base(program)] = true
	environment, _ := os.ReadFile("/proc/" + pid + "/environ")
	for what, text := range map[string]string{"arguments": string(raw), "environment": string(environment)} {
		if strings.Contains(text, marker) {
			w.found[fmt.Sprintf("%s of %s", what, program)] = true
		}
	}
}
