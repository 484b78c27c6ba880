package driver

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Alive asks the plugin at endpoint for its name. An error says that nobody answers, or somebody else: then a restart helps, as it
// does not when the plugin is not ready for want of a program or a target.
func Alive(ctx context.Context, endpoint string) (err error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	defer func() { _ = conn.Close() }()
	info, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	if err != nil {
		return fmt.Errorf("nobody answers at %s: %w", endpoint, err)
	}
	if info.GetName() != Name {
		return fmt.Errorf("%s is served by %q", endpoint, info.GetName())
	}
	return nil
}
