//go:build lab

package failover

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/lab/labenv"
)

// Secrets that are nowhere else in the world, so that a find is a leak.
const (
	initiatorSecret = "pbInitiatorSecret4711"
	targetSecret    = "pbTargetSecret0815xyz"
	wrongSecret     = "pbWrongSecret31415926"
)

var oneWay = map[string]string{
	"node.session.auth.username": "node-user", "node.session.auth.password": initiatorSecret,
}

var mutual = with(oneWay, map[string]string{
	"node.session.auth.username_in": "target-user", "node.session.auth.password_in": targetSecret,
})

func with(base, more map[string]string) map[string]string {
	m := maps.Clone(base)
	maps.Copy(m, more)
	return m
}

// TestCHAP logs in with right and wrong secrets, one way and mutually: scorecard row 22. No secret may be seen in a
// log, a command line, a context or an error.
func TestCHAP(t *testing.T) {
	s := labenv.NewStack(t, labenv.StackOptions{Node: shortLinger(), Initiator: stock, Target: labenv.TargetOptions{CHAP: "required"}})
	spy := watchArgv(t)
	for _, c := range []struct {
		name         string
		right, wrong map[string]string
	}{
		{"oneway", oneWay, with(oneWay, map[string]string{"node.session.auth.password": wrongSecret})},
		{"username", oneWay, with(oneWay, map[string]string{"node.session.auth.username": "somebody-else"})},
		{"mutual", mutual, with(mutual, map[string]string{"node.session.auth.password_in": wrongSecret})},
	} {
		t.Run(c.name, func(t *testing.T) { authenticate(t, s, c.name, c.right, c.wrong) })
	}
	t.Run("none", func(t *testing.T) { withoutSecret(t, s) })
	for _, leak := range append(spy(), leaksIn(t, s)...) {
		t.Error("a secret is in ", leak)
	}
	tidy(s)
}

// authenticate is refused with the wrong secrets, fast, and then stages with the right ones.
func authenticate(t *testing.T, s *labenv.Stack, name string, right, wrong map[string]string) {
	ctx, cancel := s.Context(2 * time.Minute)
	defer cancel()
	v := create(s, name, nil)
	v.Secrets = right
	must(t, v.ControllerPublish(ctx))

	v.Secrets = wrong
	start := time.Now()
	err := v.Stage(ctx)
	atMost(t, "refusal", time.Since(start), 10*time.Second)
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("wrong secret: %v; wanted Unauthenticated", err)
	}
	noSecretIn(t, "the error", err.Error())
	if n := len(labenv.Sessions()); n > 0 {
		t.Errorf("%d sessions after a refused login", n)
	}
	s.Run("ip", "link", "add", "passing", "type", "veth", "peer", "name", "passing-peer") // has the plugin look around
	s.Run("ip", "link", "del", "passing")
	s.Eventually(20*time.Second, "the records of the refused secrets to go", func() bool { return len(paths()) == 0 })

	v.Secrets = right
	must(t, v.Stage(ctx))
	v.waitPaths(20*time.Second, allPaths)
	for k, text := range with(v.VolumeContext, v.PublishContext) {
		noSecretIn(t, "the context's "+k, text)
	}
	must(t, v.Unstage(ctx))
	must(t, v.ControllerUnpublish(ctx))
	must(t, v.Delete(ctx))
	goneSessions(s)
}

// withoutSecret: a target that requires CHAP exports nothing to a node without credentials.
func withoutSecret(t *testing.T, s *labenv.Stack) {
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	v := create(s, "none", nil)
	err := v.ControllerPublish(ctx)
	if code := status.Code(err); code != codes.InvalidArgument && code != codes.FailedPrecondition && code != codes.Unauthenticated {
		t.Errorf("publish without secrets: %v; wanted a refusal that says what is missing", err)
	}
	t.Log(err)
	must(t, v.Delete(ctx))
}

func noSecretIn(t *testing.T, where, text string) {
	t.Helper()
	if found := secretsIn(text); len(found) > 0 {
		t.Errorf("%v is in %s: %s", found, where, text)
	}
}

func secretsIn(text string) (found []string) {
	for _, s := range []string{initiatorSecret, targetSecret, wrongSecret} {
		if strings.Contains(text, s) {
			found = append(found, s)
		}
	}
	return found
}

// leaksIn looks through all that the daemons wrote, and the node plugin's state. open-iscsi's records hold secrets
// by design: they must be root's alone.
func leaksIn(t *testing.T, s *labenv.Stack) (leaks []string) {
	t.Helper()
	for _, root := range []string{s.Artefacts, s.Node.StateDir, "/run/udev/data", "/etc/multipath"} {
		leaks = append(leaks, filesWith(t, root, func(fs.FileInfo) bool { return true })...)
	}
	public := func(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
	return append(append(leaks, filesWith(t, "/etc/iscsi", public)...), filesWith(t, s.Target.StateDir, public)...)
}

func filesWith(t *testing.T, root string, matters func(fs.FileInfo) bool) (found []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // what is gone holds no secret
		}
		info, err := d.Info()
		if err != nil || !matters(info) {
			return nil //nolint:nilerr // as above
		}
		data, err := os.ReadFile(path)
		if len(secretsIn(string(data))) > 0 {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// watchArgv looks at all command lines and environments again and again until the returned function is called: a
// program lives for 25 ms at the least in User-Mode Linux.
func watchArgv(t *testing.T) (stop func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var leaks []string
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			leaks = append(leaks, argvLeaks()...)
			<-tick.C
		}
	})
	return func() []string { cancel(); work.Wait(); return leaks }
}

func argvLeaks() (leaks []string) {
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if data, err := os.ReadFile(f); err == nil && len(secretsIn(string(data))) > 0 {
				leaks = append(leaks, f+": "+strings.ReplaceAll(string(data), "\x00", " "))
			}
		}
	}
	return leaks
}
