package sysfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// WatchMaps calls changed after each uevent, or several that come together, that says that a device-mapper device changed:
// a path of a multipath map failed or works again (DM_ACTION=PATH_FAILED, PATH_REINSTATED), or the map has another table.
// All calls come from this goroutine. It returns nil when ctx ends, and an error when there are no uevents to be had.
func WatchMaps(ctx context.Context, changed func()) error {
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
	receive(fd, wake, mapChanged, changed)
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("sysfs: receive uevents: poll failed")
}

// mapChanged says whether a kernel uevent is of a change of a device-mapper device.
func mapChanged(message []byte) bool {
	var change, dm bool
	for field := range bytes.SplitSeq(message, []byte{0}) {
		change = change || string(field) == "ACTION=change"
		dm = dm || bytes.HasPrefix(field, []byte("DEVNAME=dm-"))
	}
	return change && dm
}
