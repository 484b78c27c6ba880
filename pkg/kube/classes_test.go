package kube

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newClasses gives an API server that has class gold, and watches of PersistentVolume pv-1.
func newClasses(t *testing.T) (*watched, *Classes) {
	t.Helper()
	s, client := newWatched(t, "/api/v1/persistentvolumes", "pv-1")
	s.get = map[string]string{classesPath + "/gold": `{"kind":"VolumeAttributesClass","apiVersion":"storage.k8s.io/v1","metadata":{"name":"gold"},
		"driverName":"iscsi.portbind.io","parameters":{"preferredInterface":"san-a","noPathRetry":""}}`, classesPath + "/gone": ""}
	c := NewClasses(client)
	c.volumes.first = time.Millisecond
	return s, c
}

// event is one of a watch; without a driver the volume is of another kind.
func event(t *testing.T, kind, driver, class string) string {
	t.Helper()
	pv := corev1.PersistentVolume{
		TypeMeta:   metav1.TypeMeta{Kind: "PersistentVolume", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "pv-1"},
	}
	if driver != "" {
		pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "t/p/v"}
	}
	if class != "" {
		pv.Spec.VolumeAttributesClassName = &class
	}
	raw, err := json.Marshal(map[string]any{"type": kind, "object": pv})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// follow collects what is told, which fails as often as fails says.
func (s *watched) follow(c *Classes, fails int) (told chan string, end func()) {
	told = make(chan string, 100)
	ctx, cancel := context.WithCancel(s.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		c.Follow(ctx, "pv-1", func(driver, id, class string) error {
			told <- driver + " " + id + " " + class
			if fails--; fails >= 0 {
				return errors.New("not now")
			}
			return nil
		})
	})
	return told, func() { cancel(); done.Wait() }
}

// TestFollow: a volume as it is, its changes, over ends of watches, refusals and what is of no interest.
func TestFollow(t *testing.T) {
	t.Parallel()
	s, c := newClasses(t)
	for _, code := range []int{403, 500, 410} {
		s.refuse <- code
	}
	told, end := s.follow(c, 0)
	defer end()
	s.scripts <- []string{
		event(t, "ADDED", "iscsi.portbind.io", ""),
		event(t, "MODIFIED", "", "no CSI volume"),
		event(t, "MODIFIED", "iscsi.portbind.io", "gold"),
		expired,
	}
	s.scripts <- []string{event(t, "ADDED", "other", "silver"), event(t, "DELETED", "other", "silver"), "end"}
	s.scripts <- []string{event(t, "ADDED", "other", "gold")}
	s.want(told, "iscsi.portbind.io t/p/v ", "iscsi.portbind.io t/p/v gold", "other t/p/v silver", "other t/p/v gold")
}

// TestFollowAgain: what failed is told again, by a new watch.
func TestFollowAgain(t *testing.T) {
	t.Parallel()
	s, c := newClasses(t)
	told, end := s.follow(c, 2)
	defer end()
	for range 3 {
		s.scripts <- []string{event(t, "ADDED", "iscsi.portbind.io", "gold")}
		s.want(told, "iscsi.portbind.io t/p/v gold")
	}
	for range 3 {
		<-s.begun
	}
	if len(s.begun) > 0 || len(told) > 0 {
		t.Errorf("%d more watches, told %d times more", len(s.begun), len(told))
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	_, c := newClasses(t)
	driver, got, err := c.Parameters(t.Context(), "gold")
	if diff := cmp.Diff(map[string]string{"preferredInterface": "san-a", "noPathRetry": ""}, got); err != nil || driver != "iscsi.portbind.io" || diff != "" {
		t.Errorf("%q, %v (-want +got):\n%s", driver, err, diff)
	}
	if _, _, err := c.Parameters(t.Context(), "gone"); err == nil {
		t.Error("a class that is not there has parameters")
	}
}

// TestFollowMany: volumes that are many do not cost much memory.
func TestFollowMany(t *testing.T) {
	s, c := newClasses(t)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	const many = 100
	for range many {
		_, end := s.follow(c, 0)
		t.Cleanup(end)
	}
	for range many {
		<-s.begun
	}
	each := (heap() - before) / many >> 10
	t.Logf("%d KiB a watch, with its server's side and a TCP connection", each)
	if each > 200 {
		t.Error("too much")
	}
}
