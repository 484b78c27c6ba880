package iscsi

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/hostexec"
)

// fakeHost expects the programs that a test announces and panics at any other.
type fakeHost struct {
	programs map[string]error
	ran      []string
}

func (h *fakeHost) InHost(fn func() error) error { return fn() }

func (h *fakeHost) Run(_ context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	err, ok := h.programs[line]
	if !ok || stdin != nil {
		panic(fmt.Sprintf("unexpected program %q, stdin %q", line, stdin))
	}
	h.ran = append(h.ran, line)
	return nil, err
}

// exit is a program that ended with a status.
func exit(code int) error {
	return &hostexec.Error{Name: "iscsiadm", ExitCode: code, Stderr: "iscsiadm: it failed"}
}

// lab is a Client over directories of its own.
type lab struct {
	*Client
	host          *fakeHost
	db, sys, proc string
	conf          string
}

func newLab(t *testing.T, programs map[string]error) *lab {
	t.Helper()
	l := &lab{host: &fakeHost{programs: programs}, db: t.TempDir(), sys: t.TempDir(), proc: t.TempDir()}
	l.conf = filepath.Join(l.db, "iscsid.conf")
	l.Client = New(Options{Host: l.host, DBRoot: l.db, ConfigFile: l.conf, Sys: l.sys, Proc: l.proc})
	return l
}

// file writes below a directory.
func file(t *testing.T, text string, names ...string) {
	t.Helper()
	path := filepath.Join(names...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// addSession makes what the kernel shows of a session.
func (l *lab) addSession(t *testing.T, number int, id NodeID, iface, tag string) {
	t.Helper()
	device := filepath.Join(l.sys, "devices", fmt.Sprintf("host%d", number), fmt.Sprintf("session%d", number))
	class := filepath.Join(device, "iscsi_session", fmt.Sprintf("session%d", number))
	for name, text := range map[string]string{
		"targetname": id.Target, "ifacename": iface, "tpgt": tag, "initiatorname": "iqn.2026-11.io.portbind:n1",
	} {
		file(t, text+"\n", class, name)
	}
	file(t, "eth2\n", device, "..", "iscsi_host", fmt.Sprintf("host%d", number), "netdev")
	link(t, device, class, "device")
	link(t, class, l.sys, "class", "iscsi_session", fmt.Sprintf("session%d", number))
	connection := filepath.Join(l.sys, "class", "iscsi_connection", fmt.Sprintf("connection%d:0", number))
	file(t, id.Portal.Addr().String()+"\n", connection, "persistent_address")
	file(t, fmt.Sprintln(id.Portal.Port()), connection, "persistent_port")
}

func link(t *testing.T, target string, names ...string) {
	t.Helper()
	path := filepath.Join(names...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// files lists the regular files below a directory, with their modes.
func files(t *testing.T, dir string) map[string]os.FileMode {
	t.Helper()
	found := map[string]os.FileMode{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			found[strings.TrimPrefix(path, dir+"/")] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
