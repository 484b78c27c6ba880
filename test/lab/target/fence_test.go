//go:build lab

package target

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
	"github.com/portbind/portbind/test/lab/labenv"
)

// unpublishing calls Unpublish and closes the channel when it has returned.
func (s *setup) unpublishing(name, initiator string) <-chan struct{} {
	done := make(chan struct{})
	ctx := s.ctx()
	go func() {
		defer close(done)
		if _, err := s.api.Unpublish(ctx, &targetv1.UnpublishRequest{Key: s.key(name), Initiator: initiator}); err != nil {
			s.T.Errorf("unpublish: %v", err)
		}
	}()
	return done
}

func returned(done <-chan struct{}, within time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(within):
		return false
	}
}

// TestFenceWaitsForWrite: a write that waits for its data holds Unpublish up, and is on disk when that returns.
func TestFenceWaitsForWrite(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, s.publish("v", nodeA, false))
	r2t := r.beginWrite(0, sector)
	done := s.unpublishing("v", nodeA)
	if returned(done, time.Second) {
		t.Fatal("Unpublish returned while a write was waiting for its data")
	}
	data := bytes.Repeat([]byte{0xcc}, sector)
	r.sendData(r2t, 0, 0, data, true)
	if !returned(done, 10*time.Second) {
		t.Fatal("Unpublish does not return after the write was done")
	}
	if !bytes.Equal(s.block("v")[:sector], data) {
		t.Error("the acknowledged write is not there")
	}
	s.remove("v")
	s.Eventually(maintained, "idle ACL goes with its session", func() bool { _ = r.conn.Close(); return len(s.state()) == 0 })
}

// TestFenceSilentPeer: nothing of a peer that falls silent lands after Unpublish has returned, even if its data comes
// after all.
func TestFenceSilentPeer(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, s.publish("v", nodeA, false))
	r2t := r.beginWrite(0, sector)
	began := time.Now()
	done := s.unpublishing("v", nodeA)
	if returned(done, time.Second) {
		t.Fatal("Unpublish returned while a write was waiting for its data")
	}
	if !returned(done, 20*time.Second) {
		t.Fatal("Unpublish never returns")
	}
	t.Logf("fenced after %v", time.Since(began).Round(10*time.Millisecond))
	r.sendData(r2t, 0, 0, bytes.Repeat([]byte{0xdd}, sector), true)
	time.Sleep(500 * time.Millisecond)
	if !bytes.Equal(s.block("v")[:sector], make([]byte, sector)) {
		t.Error("a write landed after the fence")
	}
	s.remove("v")
}

// TestFenceTricklingPeer: a peer that sends its data so slowly that no timeout of the kernel's ends it.
func TestFenceTricklingPeer(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, s.publish("v", nodeA, false))
	const length = 64 * sector
	r2t := r.beginWrite(0, length)
	var stop atomic.Bool
	trickled := make(chan struct{})
	go func() {
		defer close(trickled)
		for i := uint32(0); i < 63 && !stop.Load(); i++ {
			r.sendData(r2t, i, i*sector, bytes.Repeat([]byte{0xee}, sector), false)
			time.Sleep(time.Second)
		}
	}()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	_, err := s.api.Unpublish(ctx, &targetv1.UnpublishRequest{Key: s.key("v"), Initiator: nodeA})
	cancel()
	s.want(err, codes.DeadlineExceeded)
	_, err = s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key("v"), Initiator: nodeA})
	s.want(err, codes.Aborted)
	done := s.unpublishing("v", nodeA)
	if !returned(done, 30*time.Second) {
		t.Error("Unpublish never returns")
	}
	t.Logf("fenced after %v", time.Since(began).Round(10*time.Millisecond))
	stop.Store(true)
	<-trickled
	if !bytes.Equal(s.block("v")[:sector], make([]byte, sector)) {
		t.Error("a write landed after the fence")
	}
	s.remove("v")
}

// TestFenceOneOfTwo: fencing one publisher of a shared volume disturbs neither the other nor the fenced one's other
// volumes.
func TestFenceOneOfTwo(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	s.create("w", 16*mib)
	v := s.publish("v", nodeA, true)
	a := login(t, s.Net.Portals[0], s.target.IQN, nodeA, v)
	b := login(t, s.Net.Portals[1], s.target.IQN, nodeB, s.publish("v", nodeB, true))
	// The same initiator with a second session for its other volume, as a second path would be.
	w := s.publish("w", nodeA, false)
	r2t := a.beginWrite(8, sector)
	done := s.unpublishing("v", nodeA)
	for i := range 20 {
		if err := b.write(uint32(16+i), 0x11); err != nil {
			t.Fatalf("the other publisher is disturbed: %v", err)
		}
	}
	if returned(done, 500*time.Millisecond) {
		t.Fatal("Unpublish returned while a write was waiting for its data")
	}
	a.sendData(r2t, 0, 0, bytes.Repeat([]byte{0x22}, sector), true)
	if !returned(done, 10*time.Second) {
		t.Fatal("Unpublish does not return")
	}
	if _, err := a.receive(); err != nil {
		t.Errorf("the fenced initiator's session has gone: %v", err)
	}
	a.lun = uint8(w)
	a.clearAttentions()
	s.must(a.write(0, 0x33))
	a.lun = uint8(v)
	if err := a.write(9, 0x44); err == nil {
		t.Error("the fenced initiator can still write")
	}
	s.must(b.write(40, 0x11))
	s.unpublish("v", nodeB)
	s.unpublish("w", nodeA)
	if got := s.block("v"); got[8*sector-1] != 0 {
		t.Error("block 7 was written")
	}
	s.remove("v")
	s.remove("w")
}
