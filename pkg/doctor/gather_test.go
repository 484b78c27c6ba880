package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/sysfs"
)

// fakeHost has the programs whose answers it knows.
type fakeHost struct{ t *testing.T }

func (h fakeHost) InHost(fn func() error) error { return fn() }

func (h fakeHost) Run(_ context.Context, _ []byte, name string, args ...string) ([]byte, error) {
	switch command := strings.Join(append([]string{name}, args...), " "); command {
	case "iscsid --version":
		return []byte("iscsid version 2.1.8\n"), nil
	case "multipath --version":
		return nil, &hostexec.Error{Name: name, ExitCode: 1, Stderr: "Unknown switch: (null)\nmultipath-tools v0.9.4 (12/19, 2022)\nUsage:"}
	default:
		h.t.Errorf("unexpected program: %s", command)
		return nil, errors.New("unexpected")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bare is a node without daemons and volumes: a tree of files.
func bare(t *testing.T) Source {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/proc/sys/kernel/random/boot_id", "boot\n")
	write(t, dir+"/proc/thread-self/net/unix", "Num RefCount\n0: 2 0 10000 1 1 123 @ISCSIADM_ABSTRACT_NAMESPACE\n")
	write(t, dir+"/proc/12/comm", "iscsid\n")
	write(t, dir+"/proc/11/comm", "iscsid\n")
	write(t, dir+"/proc/13/comm", "sh\n")
	return Source{
		Source: nodeview.Source{
			Sys: sysfs.FS(dir + "/sys"), Proc: dir + "/proc", Dev: dir + "/dev", StateDir: dir + "/state",
			Interfaces: func() (binding.Resolution, error) { return binding.Resolution{}, nil },
		},
		Host: fakeHost{t}, Multipathd: multipath.NewClientAt(dir + "/none"),
	}
}

func TestGatherBareNode(t *testing.T) {
	o := bare(t)
	f := o.Gather(t.Context())
	if f.Node == nil || len(f.Unknown) > 0 {
		t.Fatalf("%+v", f)
	}
	// The programs are looked for on the machine that the test runs on.
	if f.ISCSID != nil && !f.ISCSID.Missing && (!f.ISCSID.Listens || f.ISCSID.PID != 11 || f.ISCSID.Version != "2.1.8") {
		t.Errorf("%+v", f.ISCSID)
	}
	if d := f.Multipathd; d == nil || (!d.Missing && (!errors.Is(d.Err, multipath.ErrNotRunning) || d.Version != "0.9.4")) {
		t.Errorf("%+v", d)
	}
	if f.Kernel == nil || f.Kernel.ISCSITCP || f.Kernel.Multipath == nil {
		t.Errorf("%+v", f.Kernel)
	}
	if r := Judge(f); r.ExitStatus() != 2 {
		t.Errorf("%+v", r)
	}
}

func TestGatherInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := Facts{Unknown: map[string]string{}}
	stuck := make(chan struct{})
	defer close(stuck)
	f.run(ctx, []part{
		{"quick", func(context.Context) (func(*Facts), error) {
			return func(f *Facts) { f.Managed = map[string]bool{}; cancel() }, errors.New("half of it")
		}},
		{"stuck", func(context.Context) (func(*Facts), error) {
			<-stuck
			return func(*Facts) {}, nil
		}},
	})
	if f.Managed == nil || f.Unknown["quick"] != "half of it" || f.Unknown["stuck"] != "it took too long" {
		t.Errorf("%+v", f)
	}
}

func TestPairs(t *testing.T) {
	s := *well().Node
	s.Interfaces.Interfaces[1].Up = false
	other := netip.MustParseAddrPort("10.99.0.3:3260")
	var got []string
	for _, p := range pairsOf(s, []netip.AddrPort{other, portal1}) {
		got = append(got, p.Interface.Name+" "+p.Portal.String())
	}
	if want := "san-a 10.99.0.3:3260, san-a 10.99.0.1:3260, san-a 10.99.0.2:3260"; strings.Join(got, ", ") != want {
		t.Errorf("got %v", got)
	}
}

func TestProbe(t *testing.T) {
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	portal := netip.MustParseAddrPort(listener.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p := probe(ctx, "lo", portal)
	if p.Err != nil || p.FrameErr != nil || p.Frame < 1000 || p.PathMTU < p.Frame {
		t.Errorf("%+v", p)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if p := probe(ctx, "lo", portal); p.Err == nil {
		t.Errorf("%+v", p)
	}
}
