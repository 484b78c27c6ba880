//go:build lab

package instant

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// health waits until the node says this of the volume, and of its interfaces, and why; 0 is that nothing is wrong.
func (s *scene) health(volume csi.VolumeHealthErrorType, storage csi.StorageHealthErrorType, why string) {
	s.t.Helper()
	said := ""
	s.Eventually(10*time.Second, fmt.Sprintf("health %v, %v", volume, storage), func() bool {
		ofVolume, whyVolume := s.volumeHealth()
		ofStorage, whyStorage := s.storageHealth()
		said = whyVolume + "; " + whyStorage
		return ofVolume == volume && ofStorage == storage && strings.Contains(whyVolume, why) && strings.Contains(whyStorage, why)
	})
	s.t.Log("health: ", said)
}

func (s *scene) volumeHealth() (csi.VolumeHealthErrorType, string) {
	ctx, cancel := s.Context(10 * time.Second)
	defer cancel()
	resp, err := s.Node.Node.NodeGetVolumeHealth(ctx, &csi.NodeGetVolumeHealthRequest{
		VolumeId: s.v.VolumeId, StagingTargetPath: s.v.StagingPath, VolumePublishPath: s.v.TargetPath,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, is := range resp.GetVolumeHealth().GetHealthStatuses() {
		return is.GetStatus(), is.GetMessage()
	}
	return 0, ""
}

func (s *scene) storageHealth() (csi.StorageHealthErrorType, string) {
	ctx, cancel := s.Context(10 * time.Second)
	defer cancel()
	resp, err := s.Node.Node.NodeGetStorageHealth(ctx, &csi.NodeGetStorageHealthRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, is := range resp.GetBackendHealth() {
		return is.GetStatus(), is.GetMessage()
	}
	return 0, ""
}

// ifaceOf is the name of a NIC's interface.
func (s *scene) ifaceOf(nic string) string {
	return s.InterfaceNames()[slices.Index(s.Net.NICs, nic)]
}
