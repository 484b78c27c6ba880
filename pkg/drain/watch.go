package drain

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch calls changed after each change of what is drained, until ctx ends.
func (s Store) Watch(ctx context.Context, changed func()) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.dir, err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer func() { _ = events.Close() }()
	if _, err := unix.InotifyAddWatch(fd, s.dir, unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE); err != nil {
		return fmt.Errorf("watch %s: %w", s.dir, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	changed() // what there was before the watch
	buf := make([]byte, 16<<10)
	for {
		if _, err := events.Read(buf); err != nil {
			if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("watch %s: %w", s.dir, err)
		}
		changed()
	}
}
