package driver

import (
	"fmt"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// locks holds the names of the objects that calls are working on.
type locks struct {
	mu   sync.Mutex
	held map[string]struct{}
}

func newLocks() *locks { return &locks{held: map[string]struct{}{}} }

// acquire takes all keys or, when one is held, none and gives errLocked. release must be called once.
func (l *locks) acquire(keys ...string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if _, busy := l.held[k]; busy {
			return nil, fmt.Errorf("%s: %w", oneLine(k), errLocked)
		}
	}
	for _, k := range keys {
		l.held[k] = struct{}{}
	}
	return func() { l.release(keys) }, nil
}

func (l *locks) release(keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		delete(l.held, k)
	}
}

// lockKeys says which objects a request changes. Requests that only read change none: a stuck NodeGetVolumeStats must
// not hold up an unstage.
func lockKeys(req any) []string {
	switch r := req.(type) {
	case *csi.CreateVolumeRequest:
		return []string{"volume name " + r.GetName()}
	case *csi.CreateSnapshotRequest:
		return []string{"snapshot name " + r.GetName(), "volume " + r.GetSourceVolumeId()}
	case *csi.DeleteSnapshotRequest:
		return []string{"snapshot " + r.GetSnapshotId()}
	case *csi.DeleteVolumeRequest, *csi.ControllerPublishVolumeRequest, *csi.ControllerUnpublishVolumeRequest,
		*csi.ControllerExpandVolumeRequest, *csi.ControllerModifyVolumeRequest, *csi.NodeStageVolumeRequest, *csi.NodeUnstageVolumeRequest,
		*csi.NodePublishVolumeRequest, *csi.NodeUnpublishVolumeRequest, *csi.NodeExpandVolumeRequest:
		return volumeKey(r)
	default:
		return nil
	}
}

func volumeKey(req any) []string {
	r, ok := req.(interface{ GetVolumeId() string })
	if !ok || r.GetVolumeId() == "" {
		return nil
	}
	return []string{"volume " + r.GetVolumeId()}
}
