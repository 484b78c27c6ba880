package member

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/progress"
)

const (
	poolVG       = "labvg0"
	targetConfig = "/etc/portbind-targetd/config.yaml"
	targetHealth = "127.0.0.1:9761"
)

// Target makes the machine a target host, with a thin pool on its first disk, and runs it until ctx ends. The controller
// plugin comes from the pods of the nodes with these indices.
func (m *Member) Target(ctx context.Context, nodes []int) error {
	m.daemons, ctx = errgroup.WithContext(ctx)
	if err := routes(ctx, nodes); err != nil {
		return err
	}
	if err := m.Log.Step("thin pool", func() error { return pool(ctx) }); err != nil {
		return err
	}
	if err := write(map[string]string{targetConfig: m.targetd()}); err != nil {
		return err
	}
	m.daemon(ctx, m.Layout.Bin("portbind-targetd"), "serve", "--config", targetConfig, "-v", "4")
	ready := func(ctx context.Context) error { return healthy(ctx, "http://"+targetHealth+"/readyz") }
	if err := m.Log.Step("portbind-targetd", func() error { return progress.Await(ctx, ready) }); err != nil {
		return err
	}
	return m.daemons.Wait()
}

// pool activates the volume group, made when this is the first boot.
func pool(ctx context.Context) error {
	if run(ctx, "vgs", poolVG) == nil {
		return run(ctx, "vgchange", "-q", "-ay", poolVG)
	}
	if err := run(ctx, "vgcreate", "-q", "--metadatasize", "64m", poolVG, "/dev/disk/lab/0"); err != nil {
		return err
	}
	return run(ctx, "lvcreate", "-q", "-T", "-l", "90%FREE", poolVG+"/pool")
}

func (m *Member) targetd() string {
	pki := m.Layout.TargetPKI()
	return fmt.Sprintf(`iqn: iqn.2026-11.io.portbind.lab:%s
portals: [%q, %q]
listen: %q
health: %s
chap: optional
pools: [{name: fast, vg: %s, thinPool: pool}]
tls: {ca: %s/ca.crt, cert: %[7]s/server.crt, key: %[7]s/server.key}
`, m.Name, san(m.Index, 0), san(m.Index, 1), layout.TargetEndpoint(layout.NodeAddress(m.Index)), targetHealth, poolVG, pki)
}

// san is a portal on a storage NIC, as the lab numbers them.
func san(index, nic int) string { return fmt.Sprintf("10.99.0.%d:3260", 10+10*index+nic) }

func healthy(ctx context.Context, url string) error {
	client := http.Client{Timeout: 2 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	_ = resp.Body.Close()
	return err
}
