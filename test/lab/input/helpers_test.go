//go:build lab

// Package input gives the real controller and the real node what no caller should: malformed fields, hostile strings in
// every field, a host without its tools. Each refusal names the field and what is allowed, and nothing is touched.
package input

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/lab/labenv"
)

const mib = 1 << 20

// world is everything that a refused call must leave as it is.
func world(s *labenv.Stack) []string {
	all := slices.Concat(labenv.Mounts(), labenv.Disks(), labenv.Maps(), labenv.LVs())
	for _, session := range labenv.Sessions() {
		all = append(all, "session "+strconv.Itoa(session.ID))
	}
	for _, root := range []string{
		"/etc/iscsi", "/etc/multipath", s.Node.StateDir, s.Target.StateDir, "/var/lib/kubelet", "/dev/mapper",
		"/sys/kernel/config/target/iscsi/" + s.Target.IQN + "/tpgt_1/acls", "/sys/kernel/config/target/iscsi/" + s.Target.IQN + "/tpgt_1/lun",
		"/sys/kernel/config/target/core",
	} {
		all = append(all, files(root)...)
	}
	slices.Sort(all)
	return all
}

// files lists a tree without following into mounted volumes.
func files(root string) (all []string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what is gone is not listed
		}
		all = append(all, path)
		if d.IsDir() && (d.Name() == "globalmount" || d.Name() == "mount" || d.Name() == "statistics") {
			return fs.SkipDir
		}
		return nil
	})
	return all
}

// unchanged fails the test when the world is not as it was.
func unchanged(t *testing.T, s *labenv.Stack, before []string) {
	t.Helper()
	after := world(s)
	for _, x := range after {
		if !slices.Contains(before, x) {
			t.Errorf("a refused call made %q", x)
		}
	}
	for _, x := range before {
		if !slices.Contains(after, x) {
			t.Errorf("a refused call removed %q", x)
		}
	}
}

// started counts the programs and threads that the whole guest has started.
func started(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/stat")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "processes "); ok {
			count, err := strconv.Atoi(strings.TrimSpace(n))
			must(t, err)
			return count
		}
	}
	t.Fatal("no line processes in /proc/stat")
	return 0
}

// refusal checks an error: its code, that it names all of words, and that it can be shown to a person as it is.
func refusal(t *testing.T, err error, want codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("got %v: %v; wanted %v", status.Code(err), err, want)
		return
	}
	text := status.Convert(err).Message()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
	readable(t, text)
}

// readable: one line, of bounded length, without what would act upon a terminal or a log.
func readable(t *testing.T, text string) {
	t.Helper()
	if len(text) > 1100 {
		t.Errorf("a message of %d bytes", len(text))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q is not printable", text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func newStack(t *testing.T) *labenv.Stack {
	t.Helper()
	return labenv.NewStack(t, labenv.StackOptions{Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}}})
}
