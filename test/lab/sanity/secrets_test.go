//go:build lab

package sanity

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	s.Clean(t)
}

// life gives all that the driver answered, by what it is.
func life(t *testing.T, s *labenv.Stack) map[string]string {
	t.Helper()
	ctx, cancel := s.Context(5 * time.Minute)
	defer cancel()
	v := s.Create("secrets", 64<<20, labenv.MountExt4, nil)
	said := map[string]string{"volume": v.Volume.String()}
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
	m := map[string]string{}
	for k, v := range secrets {
		m[k] = v
	}
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
	var wg sync.WaitGroup
	found, rounds, seen := map[string]bool{}, 0, map[string]bool{}
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			rounds++
			inspect(seen, found)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return func() (all []string) {
		cancel()
		wg.Wait()
		t.Logf("looked %d times, saw %d programs", rounds, len(seen))
		if !seen["iscsiadm"] {
			t.Error("iscsiadm was never seen: the search is too slow to find anything")
		}
		for what := range found {
			all = append(all, what)
		}
		return all
	}
}

func inspect(seen, found map[string]bool) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		raw, err := os.ReadFile(dir + "/cmdline")
		if err != nil || len(raw) == 0 {
			continue
		}
		program, _, _ := bytes.Cut(raw, []byte{0})
		seen[filepath.Base(string(program))] = true
		environment, _ := os.ReadFile(dir + "/environ")
		for what, text := range map[string][]byte{"arguments": raw, "environment": environment} {
			if bytes.Contains(text, []byte(marker)) {
				found[fmt.Sprintf("%s of %s", what, program)] = true
			}
		}
	}
}
