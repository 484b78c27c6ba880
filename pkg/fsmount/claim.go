package fsmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// releaseTime is how long a program's start may take at most.
const releaseTime = 10 * time.Second

// release closes a device that was opened exclusively, and waits until it is nobody's. A program that another goroutine
// was starting meanwhile has a copy of the descriptor until its exec, which takes long on a busy node, and mkfs and
// mount(2) refuse a device that is claimed.
func release(ctx context.Context, file *os.File) error {
	if err := file.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := tryClaim(file.Name())
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrInUse, err)
		case <-tick.C:
		}
	}
}

// tryClaim opens exclusively and closes, with no program being started: the lock is the one that os/exec starts programs
// under. Neither call waits for the device.
func tryClaim(device string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	file, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return file.Close()
}
