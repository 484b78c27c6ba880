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
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, ServerConfig{
			Endpoint: endpoint, Registerer: prometheus.NewRegistry(),
			Identity: NewIdentity("test", func(context.Context) (bool, error) { return false, errors.New("no iscsid") }),
		})
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for Alive(ctx, endpoint) != nil {
		select {
		case <-tick.C:
		case <-time.After(10 * time.Second):
			t.Fatal("never alive")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Alive(short, endpoint); err == nil {
		t.Error("alive after its end")
	}
}
