package host

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestChangesGroup(t *testing.T) {
	for line, want := range map[string]bool{
		"/usr/sbin/lvremove -f vg0/pbv_a": true,
		"lvcreate -s vg0/a -n b":          true,
		"/usr/sbin/lvremove -f vg1/pbv_a": false,
		"/usr/sbin/lvs vg1":               false,
		"vim vg0/pbv_a":                   false,
		"":                                false,
		"portbind-targetd serve --config /etc/vg0/": false,
	} {
		if got := changesGroup(strings.ReplaceAll(line, " ", "\x00")+"\x00", []string{"vg0"}); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}

func TestWaitFor(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := waitFor(ctx, cmd.Process.Pid); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it runs: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- waitFor(t.Context(), cmd.Process.Pid) }()
	_ = cmd.Process.Kill()
	if err := <-done; err != nil {
		t.Errorf("after its end: %v", err)
	}
	_ = cmd.Wait()
	if err := waitFor(t.Context(), cmd.Process.Pid); err != nil {
		t.Errorf("long after its end: %v", err)
	}
	h := machine(t, nil, map[string]string{"proc/self/": "", "proc/1234567/cmdline": "lvremove\x00vg0/x\x00"})
	if err := h.WaitForLVM(t.Context(), []string{"vg0"}); err != nil {
		t.Error(err)
	}
}
