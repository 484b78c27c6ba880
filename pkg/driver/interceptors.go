package driver

import (
	"context"
	"path"
	"time"

	"github.com/kubernetes-csi/csi-lib-utils/protosanitizer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

const (
	logCalls    = 4
	logMessages = 5
)

// withLog gives each call a logger of its own and logs how it ended. Failures show at any verbosity; messages, with
// the fields that the specification marks as secret taken out, at 5. Contexts of volumes carry no secrets by design.
func withLog(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	log := klog.FromContext(ctx).WithValues(append([]any{"method", path.Base(info.FullMethod)}, identifiers(req)...)...)
	log.V(logMessages).Info("Call", "request", bounded(protosanitizer.StripSecrets(req).String))
	begin := time.Now()
	resp, err := next(klog.NewContext(ctx, log), req)
	took := time.Since(begin).Round(time.Millisecond)
	switch code := status.Code(err); code {
	case codes.OK:
		log.V(logCalls).Info("Done", "took", took, "response", bounded(protosanitizer.StripSecrets(resp).String))
	case codes.Aborted, codes.Canceled:
		log.V(logCalls).Info("Ended", "took", took, "code", code.String(), "reason", status.Convert(err).Message())
	default:
		log.Error(err, "Failed", "took", took, "code", code.String())
	}
	return resp, err
}

// identifiers are the fields of a request that say what it is about.
func identifiers(req any) []any {
	var out []any
	add := func(key, value string) {
		if value != "" {
			out = append(out, key, oneLine(value))
		}
	}
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		add("volume", r.GetVolumeId())
	}
	if r, ok := req.(interface{ GetSnapshotId() string }); ok {
		add("snapshot", r.GetSnapshotId())
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		add("name", r.GetName())
	}
	if r, ok := req.(interface{ GetNodeId() string }); ok {
		add("node", r.GetNodeId())
	}
	return out
}

// boundedText is text that is made, and cut, only when a log entry is written.
type boundedText func() string

func bounded(text func() string) boundedText { return text }

// String gives at most 4 KiB.
func (b boundedText) String() string {
	const most = 4096
	s := b()
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// withCodes turns errors from below into gRPC codes.
func withCodes(rules []CodeRule) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		resp, err := next(ctx, req)
		if err != nil {
			return nil, statusOf(err, rules)
		}
		return resp, nil
	}
}

// withLocks lets one call at a time work on an object; the others are ABORTED, as the CSI specification has it.
func withLocks(l *locks) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		release, err := l.acquire(lockKeys(req)...)
		if err != nil {
			return nil, err
		}
		defer release()
		return next(ctx, req)
	}
}
