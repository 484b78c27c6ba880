//go:build lab

package labenv

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// accountDir is where a pod finds its service account.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// InPod makes this process, and with it the programs that it starts from now on, look as if it ran in a pod of a cluster whose API
// server answers as the handler does, to those that have the account's token. away ends the server before the test's end.
func InPod(t *testing.T, api http.Handler) (away func()) {
	t.Helper()
	const token = "lab"
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("%s %s without the token", r.Method, r.URL)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		api.ServeHTTP(w, r)
	}))
	away = func() { // not Close alone: it would wait for watches, and those for their end
		_ = web.Listener.Close()
		web.CloseClientConnections()
		web.Close()
	}
	t.Cleanup(away)
	t.Cleanup(func() { _ = os.RemoveAll(accountDir) })
	if err := os.MkdirAll(accountDir, 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	for name, data := range map[string][]byte{"ca.crt": ca, "token": []byte(token)} {
		if err := os.WriteFile(filepath.Join(accountDir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	return away
}
