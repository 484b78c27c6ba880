package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/pool"
)

var (
	errBusy         = errors.New("busy")
	errStopping     = errors.New("the daemon is stopping")
	errInvalid      = errors.New("invalid")
	errNotFound     = errors.New("not found")
	errExists       = errors.New("already exists and does not fit")
	errPrecondition = errors.New("not possible now")
	errExhausted    = errors.New("exhausted")
	errToken        = errors.New("token is not one of ours")
)

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%w %s: %s", errInvalid, field, fmt.Sprintf(format, args...))
}

func notFound(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotFound, fmt.Sprintf(format, args...))
}

func precondition(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errPrecondition, fmt.Sprintf(format, args...))
}

// table gives the gRPC code of each sentinel; the first that matches holds.
var table = []struct {
	err  error
	code codes.Code
}{
	{errInvalid, codes.InvalidArgument},
	{pool.ErrInvalid, codes.InvalidArgument},
	{errNotFound, codes.NotFound},
	{pool.ErrNotFound, codes.NotFound},
	{errExists, codes.AlreadyExists},
	{pool.ErrExists, codes.AlreadyExists},
	{pool.ErrOutOfRange, codes.OutOfRange},
	{errExhausted, codes.ResourceExhausted},
	{pool.ErrExhausted, codes.ResourceExhausted},
	{errPrecondition, codes.FailedPrecondition},
	{pool.ErrInUse, codes.FailedPrecondition},
	{lio.ErrUnsupported, codes.FailedPrecondition},
	{errBusy, codes.Aborted},
	{errToken, codes.Aborted},
	{errStopping, codes.Unavailable},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// toStatus makes the gRPC error of any error.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	for _, row := range table {
		if errors.Is(err, row.err) {
			return status.Error(row.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}
