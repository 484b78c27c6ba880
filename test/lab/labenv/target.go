//go:build lab

package labenv

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

// TargetOptions configures a portbind-targetd.
type TargetOptions struct {
	Name     string         // how the controller calls it; default t1
	IQN      string         // default iqn.2026-11.io.portbind.lab:NAME
	Pools    []Pool         // default: one of PoolSize
	PoolSize int64          // of its volume group, in bytes; default 8 GiB, sparse
	CHAP     string         // default optional
	Config   map[string]any // more of the configuration file, or other values
}

// Target is a running portbind-targetd in the target's network namespace, with a PKI of its own.
type Target struct {
	*Daemon
	Name     string
	IQN      string
	Endpoint string // of its API
	PKI      string // directory: ca.crt, server.crt, server.key, client.crt, client.key
	Pools    []Pool
	Config   string // path
	StateDir string
	health   string // host:port
}

// Binary is the path of one of the project's programs, built beforehand by `make build`.
func (e *Env) Binary(name string) string {
	e.T.Helper()
	path := filepath.Join(os.Getenv("LAB_BIN"), name)
	if _, err := os.Stat(path); err != nil {
		e.T.Fatalf("%v: build it with `make build`", err)
	}
	return path
}

const (
	apiPort    = "9760"
	healthAddr = "127.0.0.1:9761"
)

// Target starts a portbind-targetd and returns when it is ready. Its volumes and exports go with the test.
func (e *Env) Target(o TargetOptions) *Target {
	e.T.Helper()
	t := e.describeTarget(o)
	e.cleanLIO()
	e.makePKI(t)
	e.must(os.MkdirAll(t.StateDir, 0o700))
	e.writeYAML(t.Config, t.settings(e, o))
	argv := []string{"nsenter", "--net=" + targetNS, e.Binary("portbind-targetd"), "serve", "--config", t.Config, "-v", "4"}
	t.Daemon = e.Daemon("targetd-"+t.Name, t.ready, argv...)
	return t
}

func (e *Env) describeTarget(o TargetOptions) *Target {
	e.T.Helper()
	if o.Name == "" {
		o.Name = "t1"
	}
	if o.IQN == "" {
		o.IQN = "iqn.2026-11.io.portbind.lab:" + o.Name
	}
	if o.Pools == nil {
		o.Pools = []Pool{e.Pool(cmp.Or(o.PoolSize, 8<<30))}
	}
	dir := filepath.Join(e.dir, "target-"+o.Name)
	e.must(os.MkdirAll(dir, 0o700))
	return &Target{
		Name: o.Name, IQN: o.IQN, Pools: o.Pools, Endpoint: net.JoinHostPort(TargetMgmt, apiPort), health: healthAddr,
		PKI: dir + "/pki", Config: dir + "/targetd.yaml", StateDir: dir + "/state",
	}
}

func (t *Target) settings(e *Env, o TargetOptions) map[string]any {
	var portals []string
	for _, p := range e.Net.Portals {
		portals = append(portals, net.JoinHostPort(p, "3260"))
	}
	var pools []map[string]any
	for _, p := range t.Pools {
		pools = append(pools, map[string]any{"name": p.Name(), "vg": p.VG, "thinPool": p.LV})
	}
	chap := o.CHAP
	if chap == "" {
		chap = "optional"
	}
	c := map[string]any{
		"iqn": t.IQN, "portals": portals, "listen": t.Endpoint, "health": t.health, "stateDir": t.StateDir, "chap": chap, "pools": pools,
		"tls": map[string]any{"ca": t.PKI + "/ca.crt", "cert": t.PKI + "/server.crt", "key": t.PKI + "/server.key"},
	}
	maps.Copy(c, o.Config)
	return c
}

func (e *Env) writeYAML(path string, v any) {
	e.T.Helper()
	data, err := yaml.Marshal(v)
	e.must(err)
	e.must(os.WriteFile(path, data, 0o600))
}

func (t *Target) ready() bool {
	resp, err := t.Get("/readyz")
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// Get asks the target's loopback listener: /healthz, /readyz, /metrics.
func (t *Target) Get(path string) (*http.Response, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, network, addr string) (net.Conn, error) { return DialTarget(network, addr) },
	}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+t.health+path, nil)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return client.Do(req)
}

// ForgetKernelState takes all of LIO's configuration away while the daemon is stopped, as a reboot of the target host
// does. Sessions end; volumes and the daemon's state stay.
func (t *Target) ForgetKernelState() { t.e.T.Helper(); t.e.tearDownLIO(); t.e.mountConfigfs() }

func (e *Env) makePKI(t *Target) {
	e.T.Helper()
	e.Run(e.Binary("portbind-targetd"), "pki", "--dir", t.PKI, "--san", TargetMgmt)
}
