package sysfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// WatchPaths calls changed after each uevent, or several that come together, that says that a path of a dm-multipath map
// failed or works again. Kernels without CONFIG_DM_UEVENT send none. All calls come from this goroutine. It returns nil
// when ctx ends, and an error when there are no uevents to be had.
func WatchPaths(ctx context.Context, changed func()) error {
	fd, err := listenUevents()
	if err != nil {
		return fmt.Errorf("sysfs: subscribe to uevents: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("sysfs: subscribe to uevents: %w", err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken
		}
		_ = unix.Close(wake)
	}()
	receive(fd, wake, pathChanged, changed)
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("sysfs: receive uevents: poll failed")
}

// pathChanged says whether a kernel uevent is of a path of a map (dm-uevent.c): DM_ACTION=PATH_FAILED or PATH_REINSTATED.
func pathChanged(message []byte) bool {
	return bytes.Contains(message, []byte("\x00DM_ACTION=PATH_"))
}
