package sysfs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestUntilAsksAtOnce(t *testing.T) {
	m, err := NewMonitor()
	if err != nil {
		t.Log(err) // polling works everywhere
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Until(ctx, func() (bool, error) { return true, nil }); err != nil {
		t.Error(err)
	}
	failure := errors.New("failure")
	if err := m.Until(t.Context(), func() (bool, error) { return false, failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	m, _ := NewMonitor()
	defer m.Close()
	why := errors.New("why")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, why)
	defer cancel()
	if err := m.Until(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestUntilWakesEveryWaiter(t *testing.T) {
	m := &Monitor{recheck: time.Hour, waiters: map[chan struct{}]struct{}{}, stop: func() {}}
	var ready atomic.Bool
	var asked, ended sync.WaitGroup
	for range 10 {
		asked.Add(1)
		var once sync.Once
		ended.Go(func() {
			err := m.Until(t.Context(), func() (bool, error) {
				defer once.Do(asked.Done)
				return ready.Load(), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	asked.Wait()
	ready.Store(true)
	m.wakeAll()
	ended.Wait()
}

func TestUntilStillRechecksAfterClose(t *testing.T) {
	m, _ := NewMonitor()
	m.Close()
	m.Close()
	n := 0
	if err := m.Until(t.Context(), func() (bool, error) { n++; return n == 3, nil }); err != nil {
		t.Error(err)
	}
}

func TestRelevant(t *testing.T) {
	tests := []struct {
		event string
		want  bool
	}{
		{"add@/devices/platform/host0/session1/target0:0:0/0:0:0:0/block/sda\x00ACTION=add\x00SUBSYSTEM=block\x00", true},
		{"add@/devices/platform/host0/session1\x00ACTION=add\x00SUBSYSTEM=iscsi_session\x00", true},
		{"add@/devices/virtual/net/veth0\x00ACTION=add\x00SUBSYSTEM=net\x00", false},
		{"change@/devices/x\x00SUBSYSTEM=blockish\x00", false},
		{"", true},
		{"libudev\x00", true},
	}
	for _, test := range tests {
		if got := relevant([]byte(test.event)); got != test.want {
			t.Errorf("%q: got %t", test.event, got)
		}
	}
}

func FuzzRelevant(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00SUBSYSTEM=block\x00"))
	f.Fuzz(func(_ *testing.T, message []byte) { relevant(message) })
}
