//go:build lab

package smoke

import (
	"context"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestTargetAndController shows that the project's daemons run in the lab, survive SIGKILL, and leave nothing.
func TestTargetAndController(t *testing.T) {
	labenv.Require(t, labenv.LIO, labenv.DMThin)
	e := labenv.New(t, labenv.Options{})
	target := e.Target(labenv.TargetOptions{})
	controller := e.Controller(target)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, err := controller.Controller.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: "smoke", CapacityRange: &csi.CapacityRange{RequiredBytes: 64 << 20}, VolumeCapabilities: labenv.Capabilities(labenv.MountExt4),
	})
	if err != nil {
		t.Fatal(err)
	}
	target.Restart()
	controller.Restart()
	if _, err := controller.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: resp.Volume.VolumeId}); err != nil {
		t.Fatal(err)
	}
	e.Clean(t)
}
