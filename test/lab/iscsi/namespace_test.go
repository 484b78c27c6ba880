//go:build lab

package iscsi

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
)

const insideVariable = "LAB_INSIDE_CONTAINER"

// TestFromAContainer runs TestInsideContainer where the host's tools and records are hidden, as in an image without them.
func TestFromAContainer(t *testing.T) {
	s := newScene(t)
	const hide = "for d in /usr/sbin /etc/iscsi; do mount -t tmpfs none $d; done; exec \"$0\" -test.v -test.run '^TestInsideContainer$'"
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "/bin/bash", "-c", hide, os.Args[0])
	cmd.Env = append(os.Environ(), insideVariable+"="+s.matrix[0].Portal.String())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	s.must(err)
	s.Clean(t)
}

func TestInsideContainer(t *testing.T) {
	portal := os.Getenv(insideVariable)
	if portal == "" {
		t.Log("runs as a part of TestFromAContainer")
		return
	}
	if _, err := hostexec.LookPath("iscsiadm"); err == nil {
		t.Fatal("the host's tools are not hidden")
	}
	hidden := iscsi.New(iscsi.Options{Host: hostexec.New(hostexec.Options{})})
	if err := hidden.Ready(t.Context()); !errors.Is(err, iscsi.ErrNotReady) || !strings.Contains(err.Error(), "install open-iscsi") {
		t.Errorf("without the tools: got %v", err)
	}
	host := hostexec.New(hostexec.Options{HostMountNamespace: true})
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.Run(t.Context(), nil, "readlink", "/proc/self/ns/mnt")
	if got := strings.TrimSpace(string(out)); err != nil || got != hosts || got == own {
		t.Errorf("programs run in %s, want %s, not %s: %v", got, hosts, own, err)
	}
	if after, err := os.Readlink("/proc/thread-self/ns/mnt"); err != nil || after != own {
		t.Errorf("we are in %s now, were in %s: %v", after, own, err)
	}
	loginFromContainer(t, iscsi.New(iscsi.Options{Host: host}), portal)
	if names, err := filepath.Glob("/etc/iscsi/*"); err != nil || len(names) != 0 {
		t.Errorf("written in the container: %v, %v", names, err)
	}
}

func loginFromContainer(t *testing.T, client *iscsi.Client, portal string) {
	t.Helper()
	addr, _, _ := strings.Cut(portal, ":")
	n := iscsi.Node{
		Target: target, Portal: portalAt(addr, 3260), Timers: iscsi.FastTimers(),
		Iface: iscsi.Iface{Interface: "san-a", NIC: "san0", Initiator: initiator},
	}
	for what, f := range map[string]func() error{
		"ready": func() error { return client.Ready(t.Context()) },
		"iface": func() error { return client.EnsureIface(t.Context(), n.Iface) },
		"node":  func() error { return client.EnsureNode(t.Context(), n) },
	} {
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	s := &scene{t: t}
	s.must(client.Login(t.Context(), n.ID()))
	for _, session := range s.sessions() {
		s.must(client.Logout(t.Context(), session.ID, id(session)))
	}
	s.must(client.RemoveNode(t.Context(), n.ID()))
	s.must(client.RemoveIface(t.Context(), "san-a"))
}
