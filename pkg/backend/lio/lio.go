// Package lio is the backend on a storage host that runs portbind-targetd: a client of its API, nothing more.
package lio

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/portbind/portbind/pkg/backend"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

const (
	// maxMessage holds a list of some 60,000 volumes.
	maxMessage = 16 << 20
	// A host that vanished without a word is noticed after idle + answer.
	keepaliveIdle   = 30 * time.Second
	keepaliveAnswer = 10 * time.Second
	// maxBackoff bounds how long a target that is back stays unnoticed.
	maxBackoff = 5 * time.Second
)

// Config says how to reach one portbind-targetd.
type Config struct {
	// Endpoint is host:port.
	Endpoint string
	TLS      TLS
}

// Backend is the client. It dials at the first call and again whenever it must.
type Backend struct {
	conn    *grpc.ClientConn
	client  targetv1.TargetClient
	address *address
}

var _ backend.Backend = (*Backend)(nil)

// New makes a client; nothing is dialled yet. The certificates are read once to show mistakes early, and again for
// every connection, so that renewed ones are used without a restart.
func New(cfg Config) (*Backend, error) {
	creds, err := newCredentials(cfg.TLS)
	if err != nil {
		return nil, err
	}
	known := &address{}
	options := append(dialOptions(creds), grpc.WithStatsHandler(known))
	if cfg.TLS.ServerName != "" {
		// The name that the certificate must have is the host of the authority.
		options = append(options, grpc.WithAuthority(cfg.TLS.ServerName))
	}
	conn, err := grpc.NewClient(cfg.Endpoint, options...)
	if err != nil {
		return nil, fmt.Errorf("target at %s: %w", cfg.Endpoint, err)
	}
	return &Backend{conn: conn, client: targetv1.NewTargetClient(conn), address: known}, nil
}

// retry repeats a call that met a connection whose other end has gone: a storage host that lost its power says nothing,
// and the first call afterwards would find out at the caller's cost. Every call of the API may be repeated.
const retry = `{"methodConfig": [{
	"name": [{"service": "portbind.target.v1.Target"}],
	"retryPolicy": {
		"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

func dialOptions(creds credentials.TransportCredentials) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveIdle, Timeout: keepaliveAnswer}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDefaultServiceConfig(retry),
		// A storage host is never behind an HTTP proxy of the environment.
		grpc.WithNoProxy(),
	}
}

// Close ends the connection.
func (b *Backend) Close() error { return b.conn.Close() }

// Target gives the address and pools, as the target said at the first call over the present connection.
func (b *Backend) Target(ctx context.Context) (backend.Target, error) {
	known, ok, epoch := b.address.get()
	if ok {
		return known, ctx.Err()
	}
	t, err := b.ask(ctx)
	if err == nil {
		b.address.put(t, epoch)
	}
	return t, err
}

func (b *Backend) ask(ctx context.Context) (backend.Target, error) {
	info, err := b.client.GetInfo(ctx, &targetv1.GetInfoRequest{})
	if err != nil {
		return backend.Target{}, fromStatus(ctx, err)
	}
	t := backend.Target{IQN: info.GetIqn()}
	for _, s := range info.GetPortals() {
		portal, err := netip.ParseAddrPort(s)
		if err != nil {
			return backend.Target{}, fmt.Errorf("the target's portal: %w", err)
		}
		t.Portals = append(t.Portals, portal)
	}
	for _, p := range info.GetPools() {
		t.Pools = append(t.Pools, p.GetName())
	}
	return t, nil
}

// Capacity of one pool.
func (b *Backend) Capacity(ctx context.Context, pool string) (backend.Capacity, error) {
	info, err := b.client.GetInfo(ctx, &targetv1.GetInfoRequest{})
	if err != nil {
		return backend.Capacity{}, fromStatus(ctx, err)
	}
	for _, p := range info.GetPools() {
		if p.GetName() == pool {
			return capacityOf(p)
		}
	}
	return backend.Capacity{}, fmt.Errorf("pool %q: %w", pool, backend.ErrNotFound)
}

func capacityOf(p *targetv1.Pool) (backend.Capacity, error) {
	total, errTotal := size(p.GetTotalBytes())
	free, errFree := size(p.GetFreeBytes())
	most, errMost := size(p.GetMaxVolumeBytes())
	return backend.Capacity{
		TotalBytes: total, AvailableBytes: free, MaxVolumeBytes: most, MetadataUsed: p.GetMetadataUsed(),
	}, errors.Join(errTotal, errFree, errMost)
}

// Publish makes the volume a LUN of one initiator.
func (b *Backend) Publish(ctx context.Context, req backend.Publish) (backend.Export, error) {
	in := &targetv1.PublishRequest{
		Key: volumeKey(req.Key), Initiator: req.Initiator, ReadOnly: req.ReadOnly, Shared: req.Shared,
	}
	if c := req.CHAP; c != nil {
		in.Chap = &targetv1.Chap{User: c.User, Secret: c.Secret, TargetUser: c.TargetUser, TargetSecret: c.TargetSecret}
	}
	out, err := b.client.Publish(ctx, in)
	if err != nil {
		return backend.Export{}, fromStatus(ctx, err)
	}
	return backend.Export{LUN: int(out.GetLun()), Attributes: out.GetAttributes()}, nil
}

// Unpublish fences one initiator, or all.
func (b *Backend) Unpublish(ctx context.Context, key backend.Key, initiator string) error {
	_, err := b.client.Unpublish(ctx, &targetv1.UnpublishRequest{Key: volumeKey(key), Initiator: initiator})
	return fromStatus(ctx, err)
}
