package sysfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// kernelGroup is the multicast group of the kernel's own uevents; udevd's are group 2.
	kernelGroup = 1
	// pollEvery is the fallback where no uevents can be had.
	pollEvery = 10 * time.Millisecond
	// recheckEvery bounds how late a change is seen that the kernel sends no uevent for, such as the state of a
	// session that logs in.
	recheckEvery = 50 * time.Millisecond
	// receiveBuffer holds the burst of uevents of many attaches at once.
	receiveBuffer = 1 << 20
)

// Monitor wakes those who wait for a change in sysfs whenever the kernel reports one. Safe for concurrent use.
type Monitor struct {
	recheck time.Duration
	mu      sync.Mutex
	waiters map[chan struct{}]struct{}
	stop    func()
}

// NewMonitor subscribes to the kernel's uevents. Where that is not possible it falls back to polling every 10 ms and
// says why in err, which the caller may log; the Monitor is usable in either case and must be closed.
func NewMonitor() (m *Monitor, err error) {
	m = &Monitor{recheck: pollEvery, waiters: map[chan struct{}]struct{}{}, stop: func() {}}
	fd, err := listenUevents()
	if err != nil {
		return m, fmt.Errorf("sysfs: subscribe to uevents, polling instead: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		return m, fmt.Errorf("sysfs: subscribe to uevents, polling instead: %w", err)
	}
	m.recheck = recheckEvery
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(fd, wake, relevant, m.wakeAll)
	}()
	m.stop = func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-done
		_ = unix.Close(fd)
		_ = unix.Close(wake)
	}
	return m, nil
}

// Close ends the subscription. Waiters go on by polling.
func (m *Monitor) Close() {
	m.mu.Lock()
	stop := m.stop
	m.stop = func() {}
	m.mu.Unlock()
	stop()
}

// listenUevents opens the socket that the kernel multicasts to. Devices that belong to no network namespace are
// reported in all of them that the initial user namespace owns (kobject_uevent_net_broadcast).
func listenUevents() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return -1, err
	}
	// Best effort: what overflows makes receive wake everybody.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// receive calls look for every batch of uevents with one that is relevant, until the eventfd wake is written to.
func receive(fd, wake int, relevant func(message []byte) bool, look func()) {
	buf := make([]byte, 16<<10)
	for {
		fds := []unix.PollFd{
			{Fd: int32(fd), Events: unix.POLLIN},   //nolint:gosec // descriptors are small
			{Fd: int32(wake), Events: unix.POLLIN}, //nolint:gosec // descriptors are small
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		if fds[0].Revents != 0 && drain(fd, buf, relevant) {
			look()
		}
	}
}

// drain reads what is there and says whether to look. ENOBUFS means that events were lost.
func drain(fd int, buf []byte, relevant func(message []byte) bool) (look bool) {
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			look = true
		case err != nil:
			return look
		default:
			// Only the kernel has port 0; anybody else's message is forged.
			nl, ok := from.(*unix.SockaddrNetlink)
			look = look || (ok && nl.Pid == 0 && relevant(buf[:n]))
		}
	}
}

func (m *Monitor) wakeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.waiters {
		select {
		case c <- struct{}{}:
		default: // it has a wake-up waiting already
		}
	}
}

// Until returns when done says true or fails, or with the context's cause when ctx ends. done is called at once, then
// after uevents of block and SCSI devices and at least every 50 ms; it must be cheap, and may miss intermediate states.
func (m *Monitor) Until(ctx context.Context, done func() (bool, error)) error {
	wake := make(chan struct{}, 1)
	m.mu.Lock()
	m.waiters[wake] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.waiters, wake)
		m.mu.Unlock()
	}()
	ticker := time.NewTicker(m.recheck)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wake:
		case <-ticker.C:
		}
	}
}
