package multipath

import (
	"errors"
	"fmt"
)

// What can go wrong, for errors.Is.
var (
	// ErrNotRunning says that nothing answers on multipathd's socket.
	ErrNotRunning = errors.New("multipathd does not answer on its socket: install and start multipath-tools " +
		"(RHEL, Fedora: device-mapper-multipath, and run mpathconf --enable)")
	// ErrNoKernel says that the kernel has no dm-multipath.
	ErrNoKernel = errors.New("the kernel has no dm-multipath: load the module dm-multipath")
	// ErrRefused says that multipathd answered "fail".
	ErrRefused = errors.New("multipathd answered fail")
	// ErrBusy says that multipathd could not get to it: its lock is held, or it is reading its configuration.
	ErrBusy = errors.New("multipathd is busy")
	// ErrFormat says that multipathd or the kernel answered what this package does not understand.
	ErrFormat = errors.New("unexpected answer")
	// ErrInput says that a name would not survive the way through the protocol.
	ErrInput = errors.New("invalid name")
	// ErrExists says that a map of that name or uuid exists.
	ErrExists = errors.New("map exists")
	// ErrNotFound says that there is no such map.
	ErrNotFound = errors.New("no such map")
	// ErrDeadPath says that a path cannot be opened: its disk is gone or offline, its session being lost.
	ErrDeadPath = errors.New("a path is gone or offline")
	// ErrOpen says that the map, or a path of it, is in use.
	ErrOpen = errors.New("in use")
)

// Error says which operation failed on which map, path or file.
type Error struct {
	Op, On string
	Err    error
}

// Error gives one line.
func (e *Error) Error() string {
	if e.On == "" {
		return fmt.Sprintf("multipath: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("multipath: %s %s: %v", e.Op, e.On, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
