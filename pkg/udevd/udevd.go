// Package udevd tells what udevd has done: which removals of block devices it has handled, and whether it has nothing left to do.
package udevd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// processedGroup is where udevd says that its rules have run for an event, to multipathd among others.
	processedGroup = 2
	// monitorMagic begins what udevd sends (systemd's device-monitor.c), after "libudev" and NUL; in network order.
	monitorMagic = 0xfeedcafe
	// queueFile exists while udevd has events to handle.
	queueFile = "/run/udev/queue"
	// settlePatience bounds the wait for udevd at our start: a host that boots is busy with other things, too. With 3 s a path
	// was lost in the lab, whose machine was overloaded: late events of our predecessor's disks hit ours of the same names.
	settlePatience = 20 * time.Second
)

// Listener hears what udevd has done. A nil one hears nothing.
type Listener struct {
	fd, wake int
	done     chan struct{}

	mu      sync.Mutex
	waiting map[string][]chan struct{} // by device name, for its removal
}

// Listen begins to listen.
func Listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen to udevd: %w", err)
	}
	// Best effort: the default holds some hundred events, a burst of fifty attaches is a thousand.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: processedGroup}); err != nil {
		return nil, errors.Join(fmt.Errorf("listen to udevd: %w", err), unix.Close(fd))
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen to udevd: %w", err), unix.Close(fd))
	}
	u := &Listener{fd: fd, wake: wake, done: make(chan struct{}), waiting: map[string][]chan struct{}{}}
	go u.receive()
	return u, nil
}

// Close ends it; what is awaited then never comes. Safe on nil.
func (u *Listener) Close() {
	if u == nil {
		return
	}
	_, _ = unix.Write(u.wake, binary.NativeEndian.AppendUint64(nil, 1))
	<-u.done
	_ = unix.Close(u.fd)
	_ = unix.Close(u.wake)
}

func (u *Listener) receive() {
	defer close(u.done)
	buf := make([]byte, 64<<10)
	for {
		fds := []unix.PollFd{
			{Fd: int32(u.fd), Events: unix.POLLIN},   //nolint:gosec // descriptors are small
			{Fd: int32(u.wake), Events: unix.POLLIN}, //nolint:gosec // descriptors are small
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		n, _, err := unix.Recvfrom(u.fd, buf, 0)
		if errors.Is(err, unix.ENOBUFS) {
			u.forget() // events were lost: who waits goes by the clock
		}
		if err == nil {
			if name, ok := removedDevice(buf[:n]); ok {
				u.removed(name)
			}
		}
	}
}

// removedDevice reads udevd's message: the name of the block device whose removal it has handled.
func removedDevice(msg []byte) (name string, ok bool) {
	const head = 40
	if len(msg) < head || !bytes.HasPrefix(msg, []byte("libudev\x00")) || binary.BigEndian.Uint32(msg[8:]) != monitorMagic {
		return "", false
	}
	from, size := uint64(binary.NativeEndian.Uint32(msg[16:])), uint64(binary.NativeEndian.Uint32(msg[20:]))
	if from < head || from+size > uint64(len(msg)) {
		return "", false
	}
	var action, subsystem, device string
	for field := range bytes.SplitSeq(msg[from:from+size], []byte{0}) {
		key, value, _ := bytes.Cut(field, []byte("="))
		switch string(key) {
		case "ACTION":
			action = string(value)
		case "SUBSYSTEM":
			subsystem = string(value)
		case "DEVNAME":
			device = string(bytes.TrimPrefix(value, []byte("/dev/")))
		}
	}
	return device, action == "remove" && subsystem == "block" && device != ""
}

// ExpectRemoval is to be called before the device ("sdb") is removed: what it returns is closed when udevd has
// handled that.
func (u *Listener) ExpectRemoval(name string) <-chan struct{} {
	if u == nil {
		return nil
	}
	seen := make(chan struct{})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting[name] = append(u.waiting[name], seen)
	return seen
}

func (u *Listener) removed(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, seen := range u.waiting[name] {
		close(seen)
	}
	delete(u.waiting, name)
}

func (u *Listener) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = map[string][]chan struct{}{}
}

// Settle waits, within limits, until udevd has nothing to do: what happened before can then no longer come late. within runs
// its argument with the host's files in view.
func Settle(ctx context.Context, within func(func() error) error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for busy(within) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func busy(within func(func() error) error) bool {
	busy := false
	err := within(func() error {
		_, err := os.Stat(queueFile)
		busy = err == nil
		return nil
	})
	return err == nil && busy
}

// Property reads what udevd has recorded of a block device in its database ("/run/udev/data"), such as ID_SERIAL. Empty: nothing.
func Property(database string, major, minor uint32, key string) string {
	text, err := os.ReadFile(filepath.Join(database, fmt.Sprintf("b%d:%d", major, minor)))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "E:"+key+"="); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}
