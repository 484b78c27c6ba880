package daemon

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestHealth(t *testing.T) {
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	_ = free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var ready readiness
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "portbind_test_total"})
	reg.MustRegister(counter)
	web, err := serveHealth(ctx, addr, &ready, reg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- web(ctx) }()
	for _, step := range []struct {
		path string
		code int
		text string
	}{
		{"/healthz", http.StatusOK, "ok"},
		{"/readyz", http.StatusServiceUnavailable, "restoring"},
		{"/metrics", http.StatusOK, "portbind_test_total 0"},
		{"/debug/pprof/", http.StatusNotFound, ""},
	} {
		if code, text := get(t, "http://"+addr+step.path); code != step.code || !strings.Contains(text, step.text) {
			t.Errorf("%s: %d %q", step.path, code, text)
		}
	}
	ready.set(true)
	if code, _ := get(t, "http://"+addr+"/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	if _, err := serveHealth(ctx, addr, &ready, reg); err == nil {
		t.Error("two listeners on one address")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
