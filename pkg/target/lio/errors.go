package lio

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is something that this kernel cannot do.
var ErrUnsupported = errors.New("not supported by this kernel")

// isUnsupported says whether the kernel refused an attribute that the device has no support for.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}
