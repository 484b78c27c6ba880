package driver

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A plugin that is not ready is alive; one that is gone is not.
func TestAlive(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	endpoint := "unix://" + filepath.Join(t.TempDir(), "csi.sock")
	ended, serve := make(chan error, 1), make(chan struct{})
	go func() {
		<-serve
		ended <- Serve(ctx, ServerConfig{
			Endpoint: endpoint, Registerer: prometheus.NewRegistry(),
			Identity: NewIdentity("test", func(context.Context) (bool, error) { return false, errors.New("no iscsid") }),
		})
	}()
	if err := Alive(ctx, endpoint, false); err == nil {
		t.Error("alive before its start")
	}
	waited := make(chan error, 1)
	go func() { waited <- Alive(ctx, endpoint, true) }()
	close(serve)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if err := Alive(ctx, endpoint, false); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, wait := range []bool{false, true} {
		if err := Alive(short, endpoint, wait); err == nil {
			t.Errorf("alive after its end (wait: %t)", wait)
		}
	}
}
