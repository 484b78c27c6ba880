package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// connecting is how a plugin that is being started is called: again soon, and with patience for one that is slow to answer.
var connecting = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 20 * time.Second,
}

// Alive asks the plugin at endpoint for its name. An error says that nobody answers, or somebody else: then a restart helps, as it
// does not when the plugin is not ready for want of a program or a target. With wait, one that is not there yet is waited for
// until ctx ends.
func Alive(ctx context.Context, endpoint string, wait bool) (err error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(connecting))
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	defer func() { _ = conn.Close() }()
	info, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(wait))
	if err != nil {
		return fmt.Errorf("nobody answers at %s: %w", endpoint, err)
	}
	if info.GetName() != Name {
		return fmt.Errorf("%s is served by %q", endpoint, info.GetName())
	}
	return nil
}
