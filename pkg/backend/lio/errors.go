package lio

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/backend"
)

// sentinels are what the codes of the target's API mean (pkg/targetapi/v1, service Target).
var sentinels = map[codes.Code]error{
	codes.InvalidArgument:    backend.ErrInvalid,
	codes.NotFound:           backend.ErrNotFound,
	codes.AlreadyExists:      backend.ErrExists,
	codes.OutOfRange:         backend.ErrOutOfRange,
	codes.ResourceExhausted:  backend.ErrExhausted,
	codes.FailedPrecondition: backend.ErrInUse,
	codes.Aborted:            backend.ErrBusy,
	codes.Unimplemented:      backend.ErrUnsupported,
	codes.Unavailable:        backend.ErrUnavailable,
	codes.Unauthenticated:    backend.ErrUnavailable,
	codes.PermissionDenied:   backend.ErrUnavailable,
	codes.DeadlineExceeded:   context.DeadlineExceeded,
	codes.Canceled:           context.Canceled,
}

// targetError carries the target's own words and the sentinel of its code. No gRPC status is inside: the code of the
// target's API is not the code of a CSI call.
type targetError struct {
	message  string
	sentinel error
}

func (e *targetError) Error() string { return "target: " + e.message }
func (e *targetError) Unwrap() error { return e.sentinel }

// fromStatus turns a call's error into a sentinel; nil stays nil.
func fromStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	if cause := ctx.Err(); cause != nil && (s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled) {
		return fmt.Errorf("target: no answer in time (%s): %w", s.Message(), cause)
	}
	sentinel, ok := sentinels[s.Code()]
	if !ok {
		return &targetError{message: fmt.Sprintf("%s: %s", s.Code(), s.Message()), sentinel: errUnknown}
	}
	return &targetError{message: s.Message(), sentinel: sentinel}
}

var errUnknown = errors.New("internal error of the target")

// fromListStatus is fromStatus for calls with a page token, where ABORTED is about the token.
func fromListStatus(ctx context.Context, err error, token string) error {
	if status.Code(err) == codes.Aborted && token != "" {
		return &targetError{message: status.Convert(err).Message(), sentinel: backend.ErrPageToken}
	}
	return fromStatus(ctx, err)
}
