package compliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/nicdial"
)

// probeTime is how long a portal has to answer.
const probeTime = 2 * time.Second

// unroutable says that the kernel has no way to an address.
func unroutable(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}

// prober tries portals by connecting to them. It does so only where no session says that one is reached: a target logs each
// connection that does not log in.
type prober struct {
	// keep is for how long a success counts.
	keep time.Duration
	dial func(ctx context.Context, nic string, portal netip.AddrPort) error

	// good is when an interface with these addresses was seen to reach a portal.
	good map[string]time.Time
}

func newProber() *prober {
	return &prober{keep: 10 * time.Minute, dial: dialThrough, good: map[string]time.Time{}}
}

// probe fills in which interfaces reach no portal, all of them at once.
func (p *prober) probe(ctx context.Context, s *Snapshot) {
	var group sync.WaitGroup
	var mu sync.Mutex
	for _, i := range s.Interfaces.Interfaces {
		portals := s.reachable(i)
		key := fmt.Sprint(i.Name, i.NIC, i.Addrs)
		mu.Lock()
		known := time.Since(p.good[key]) < p.keep && !s.lost(i.Name)
		mu.Unlock()
		if !i.Up || len(portals) == 0 || s.connected(i.Name) || known {
			continue
		}
		group.Go(func() {
			err := p.any(ctx, i, portals)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Unreachable[i.Name] = err.Error()
				delete(p.good, key)
				return
			}
			p.good[key] = time.Now()
		})
	}
	group.Wait()
}

// lost says that the interface should have sessions of volumes; probe knows that there is none.
func (s *Snapshot) lost(name string) bool {
	for _, d := range s.Demands {
		if d.Volume && (len(d.Interfaces) == 0 || d.has(name)) {
			return true
		}
	}
	return false
}

// any succeeds when one portal answers.
func (p *prober) any(ctx context.Context, i binding.Interface, portals []netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	results := make(chan error, len(portals))
	for _, portal := range portals {
		go func() { results <- p.dial(ctx, i.NIC, portal) }()
	}
	answered := false
	var failures []string
	for range portals {
		if err := <-results; err != nil {
			failures = append(failures, err.Error())
			continue
		}
		answered = true
		cancel() // the others need not be waited for
	}
	if answered {
		return nil
	}
	slices.Sort(failures)
	return errors.New(strings.Join(failures, "; "))
}

// dialThrough connects through a NIC, and hangs up.
func dialThrough(ctx context.Context, nic string, portal netip.AddrPort) error {
	conn, err := nicdial.Dial(ctx, nic, portal)
	if err != nil {
		return fmt.Errorf("%s: %w", portal, err)
	}
	return conn.Close()
}
