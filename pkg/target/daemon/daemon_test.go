package daemon

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/target/config"
)

// noPrograms runs nothing.
type noPrograms struct{}

func (noPrograms) Run(_ context.Context, _ []byte, name string, _ ...string) ([]byte, error) {
	panic("unexpected program " + name)
}

// TestFailureEndsTheDaemon: what cannot begin must not linger with its health listener up.
func TestFailureEndsTheDaemon(t *testing.T) {
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	health := free.Addr().String()
	_ = free.Close()
	cfg, err := config.Parse([]byte(strings.Join([]string{
		"iqn: iqn.2026-11.io.example:t", `portals: ["10.0.0.1:3260"]`, "pools: [{name: fast, vg: vg0, thinPool: pool}]",
		"health: " + health, "tls: {ca: /nonexistent/ca, cert: /nonexistent/cert, key: /nonexistent/key}",
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = New(cfg, "test", Parts{Runner: noPrograms{}}).Run(ctx)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "/nonexistent/ca") {
		t.Errorf("got %v", err)
	}
}
