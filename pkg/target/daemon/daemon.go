// Package daemon wires the parts of portbind-targetd together and runs them.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/target/config"
	"github.com/portbind/portbind/pkg/target/host"
	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/pool"
	"github.com/portbind/portbind/pkg/target/pool/lvmthin"
	"github.com/portbind/portbind/pkg/target/server"
	"github.com/portbind/portbind/pkg/target/store"
)

// Parts are what the daemon changes the machine through: programs, the kernel's target, and its own database.
type Parts struct {
	Runner hostexec.Runner
	Tree   lio.Tree
	// Records wraps the opened database; nil takes it as it is.
	Records func(server.Records) server.Records
}

// RealParts are those of this machine.
func RealParts() Parts {
	return Parts{Runner: hostexec.Logged(hostexec.New(hostexec.Options{})), Tree: lio.ConfigFS}
}

// Daemon is portbind-targetd.
type Daemon struct {
	cfg     *config.Config
	version string
	parts   Parts
}

// New gives a daemon that has not begun.
func New(cfg *config.Config, version string, parts Parts) *Daemon {
	return &Daemon{cfg: cfg, version: version, parts: parts}
}

// Run restores what should be there, then serves until ctx ends. The kernel's target is left as it is: stopping the
// daemon disturbs no I/O.
func (d *Daemon) Run(ctx context.Context) error {
	var ready readiness
	reg := prometheus.NewRegistry()
	web, err := serveHealth(ctx, d.cfg.Health, &ready, reg)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web(ctx) })
	g.Go(func() error {
		err := d.serve(ctx, &ready, reg)
		if err == nil {
			// The other goroutines end with the context only.
			err = errStopped
		}
		return err
	})
	if err := g.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

var errStopped = errors.New("stopped")

func (d *Daemon) serve(ctx context.Context, ready *readiness, reg *prometheus.Registry) error {
	tlsConfig, err := server.TLSFiles{CA: d.cfg.TLS.CA, Cert: d.cfg.TLS.Cert, Key: d.cfg.TLS.Key}.Config()
	if err != nil {
		return err
	}
	if err := d.prepareHost(ctx); err != nil {
		return err
	}
	records, err := store.Open(d.cfg.StateDir)
	if err != nil {
		return err
	}
	s := d.server(records)
	metrics, err := s.NewMetrics(ctx, reg)
	if err != nil {
		return errors.Join(fmt.Errorf("metrics: %w", err), records.Close())
	}
	if err := d.restore(ctx, s); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), records.Close())
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.cfg.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), records.Close())
	}
	klog.FromContext(ctx).Info("Serving", "version", d.version, "iqn", d.cfg.IQN, "listen", listener.Addr().String())
	ready.set(true)
	defer ready.set(false)
	var maintenance sync.WaitGroup
	maintenance.Go(func() { s.Maintain(ctx) })
	err = s.Serve(ctx, listener, tlsConfig, metrics)
	maintenance.Wait()
	return errors.Join(err, records.Close())
}

// restore begins when nothing of a predecessor is at work any more. The database is open, so there is no other daemon.
func (d *Daemon) restore(ctx context.Context, s *server.Server) error {
	var groups []string
	for _, p := range d.cfg.Pools {
		groups = append(groups, p.VG)
	}
	if err := d.host().WaitForLVM(ctx, groups); err != nil {
		return err
	}
	return s.Restore(ctx)
}

func (d *Daemon) host() host.Host { return host.Host{Root: "/", Runner: d.parts.Runner} }

// prepareHost makes sure that the host is ours to use, before anything is changed.
func (d *Daemon) prepareHost(ctx context.Context) error {
	h := d.host()
	if err := h.CheckTools(); err != nil {
		return err
	}
	if err := h.CheckRTSLib(ctx); err != nil {
		return err
	}
	return h.Prepare(ctx)
}

func (d *Daemon) server(records server.Records) *server.Server {
	if d.parts.Records != nil {
		records = d.parts.Records(records)
	}
	target := lio.New(d.parts.Tree, lio.Config{IQN: d.cfg.IQN, Portals: d.cfg.PortalAddrs(), CHAPRequired: d.cfg.CHAPRequired()})
	var portals []string
	for _, p := range d.cfg.PortalAddrs() {
		portals = append(portals, p.String())
	}
	return server.New(server.Config{
		Version: d.version, IQN: d.cfg.IQN, Portals: portals, CHAPRequired: d.cfg.CHAPRequired(),
	}, Pools(d.cfg, d.parts.Runner), target, records)
}

// Pools gives a driver for each configured pool. Those in one volume group share it.
func Pools(cfg *config.Config, runner hostexec.Runner) map[string]pool.Driver {
	groups := map[string]*lvmthin.Group{}
	pools := map[string]pool.Driver{}
	for _, p := range cfg.Pools {
		if groups[p.VG] == nil {
			groups[p.VG] = lvmthin.NewGroup(runner, p.VG)
		}
		pools[p.Name] = groups[p.VG].Pool(lvmthin.Config{
			Name: p.Name, ThinPool: p.ThinPool,
			Limits: lvmthin.Limits{
				Data: p.RefuseAbove.Data / 100, Metadata: p.RefuseAbove.Metadata / 100, Overcommit: p.Overcommit,
				WarnData: p.WarnAbove.Data / 100, WarnMetadata: p.WarnAbove.Metadata / 100,
			},
		})
	}
	return pools
}
