package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/portbind/portbind/pkg/target/server"
)

// ErrCheck says that the host is not ready; the report has the reasons.
var ErrCheck = errors.New("this host is not ready")

// Check looks at the host without changing anything, and writes one line for each point.
func (d *Daemon) Check(ctx context.Context, out io.Writer) error {
	h := d.host()
	failed := false
	for _, point := range []struct {
		what string
		err  error
		// harmless points do not keep the daemon from starting.
		harmless bool
	}{
		{what: "runs as root", err: checkRoot()},
		{what: "programs", err: h.CheckTools()},
		{what: "kernel modules", err: h.CheckModules(ctx)},
		{what: "no rtslib service", err: h.CheckRTSLib(ctx)},
		{what: "TLS files", err: d.checkTLS()},
		{what: "portal addresses", err: d.checkPortals(), harmless: true},
		{what: "pools", err: d.checkPools(ctx)},
	} {
		switch {
		case point.err == nil:
			fmt.Fprintf(out, "ok    %s\n", point.what)
		case point.harmless:
			fmt.Fprintf(out, "warn  %s: %v\n", point.what, point.err)
		default:
			fmt.Fprintf(out, "FAIL  %s: %v\n", point.what, point.err)
			failed = true
		}
	}
	if failed {
		return ErrCheck
	}
	return nil
}

func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("LVM and configfs need root")
	}
	return nil
}

func (d *Daemon) checkTLS() error {
	_, err := server.TLSFiles{CA: d.cfg.TLS.CA, Cert: d.cfg.TLS.Cert, Key: d.cfg.TLS.Key}.Config()
	return err
}

// checkPortals looks for addresses that this host does not have. The kernel listens on them nevertheless, for when
// they come.
func (d *Daemon) checkPortals() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list this host's addresses: %w", err)
	}
	have := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			have[p.Addr().Unmap()] = true
		}
	}
	var errs []error
	for _, p := range d.cfg.PortalAddrs() {
		if !have[p.Addr().Unmap()] {
			errs = append(errs, fmt.Errorf("%s is not an address of this host now", p.Addr()))
		}
	}
	return errors.Join(errs...)
}

func (d *Daemon) checkPools(ctx context.Context) error {
	var errs []error
	for _, driver := range Pools(d.cfg, d.parts.Runner) {
		if c, ok := driver.(interface{ Check(context.Context) error }); ok {
			errs = append(errs, c.Check(ctx))
		}
	}
	return errors.Join(errs...)
}
