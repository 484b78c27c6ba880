package hostexec

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

type runnerFunc func() ([]byte, error)

func (f runnerFunc) Run(context.Context, []byte, string, ...string) ([]byte, error) { return f() }

func TestLoggedSaysWhatRanButNotWhatItReadAndWrote(t *testing.T) {
	state := klog.CaptureState()
	defer state.Restore()
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	_ = flags.Set("v", "5")
	_ = flags.Set("logtostderr", "false")
	var log bytes.Buffer
	klog.SetOutput(&log)

	failure := errors.New("failure")
	runner := Logged(runnerFunc(func() ([]byte, error) { return []byte("stdout-secret"), failure }))
	out, err := runner.Run(t.Context(), []byte("stdin-secret"), "iscsiadm", "-m", "node")
	if string(out) != "stdout-secret" || !errors.Is(err, failure) {
		t.Errorf("got %q, %v", out, err)
	}
	klog.Flush()
	if !strings.Contains(log.String(), `program="iscsiadm"`) || !strings.Contains(log.String(), `["-m","node"]`) {
		t.Errorf("got %q", log.String())
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("a secret in %q", log.String())
	}
}
