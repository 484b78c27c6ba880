package driver

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

var (
	// errLocked is given when another call works on the same object.
	errLocked = errors.New("another operation on it is in progress")
	// errNoTarget is a target name in an id that the configuration does not have (any more).
	errNoTarget = errors.New("no such target in the configuration")
	// errUnsupported is a call that this driver has no capability for.
	errUnsupported = errors.New("not supported")
)

// CodeRule gives the code of the errors that are Err.
type CodeRule struct {
	Err  error
	Code codes.Code
}

// commonRules is the one table from errors to codes; ServerConfig.Rules goes before it, for what only one service meets.
// The codes are those of the CSI specification's tables of each call.
var commonRules = []CodeRule{
	{volume.ErrForeign, codes.NotFound},
	{volume.ErrOutOfRange, codes.OutOfRange},

	{errLocked, codes.Aborted},
	{errNoTarget, codes.FailedPrecondition},
	{errElsewhere, codes.ResourceExhausted},
	{errUnsupported, codes.Unimplemented},

	{backend.ErrNotFound, codes.NotFound},
	{backend.ErrExists, codes.AlreadyExists},
	{backend.ErrInvalid, codes.InvalidArgument},
	{backend.ErrOutOfRange, codes.OutOfRange},
	{backend.ErrExhausted, codes.ResourceExhausted},
	{backend.ErrInUse, codes.FailedPrecondition},
	{backend.ErrBusy, codes.Aborted},
	{backend.ErrUnsupported, codes.InvalidArgument},
	{backend.ErrUnavailable, codes.Unavailable},
	{backend.ErrPageToken, codes.Aborted},

	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// statusOf turns an error into a gRPC status: by the rules, then INVALID_ARGUMENT for refused fields, else INTERNAL.
func statusOf(err error, rules []CodeRule) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf(err, rules), oneLine(err.Error()))
}

func codeOf(err error, rules []CodeRule) codes.Code {
	for _, r := range rules {
		if errors.Is(err, r.Err) {
			return r.Code
		}
	}
	if _, ok := errors.AsType[*volume.FieldError](err); ok {
		return codes.InvalidArgument
	}
	return codes.Internal
}

// oneLine bounds a message: it goes into events and conditions of Kubernetes objects.
func oneLine(s string) string {
	const most = 1024
	s = strings.ToValidUTF8(strings.NewReplacer("\n", "; ", "\r", "").Replace(s), "?")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
