//go:build lab

// Package static holds the scenarios of LUNs that exist without us, used through hand-written volumes.
package static

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	arrayIQN = "iqn.2001-05.com.example:array1"
	lun      = 7
	size     = 256 << 20
)

// array is somebody else's array, with one LUN.
func array(t *testing.T) (*labenv.Stack, *labenv.RawTarget, string) {
	t.Helper()
	s := labenv.NewStack(t, labenv.StackOptions{})
	raw := s.RawTarget(arrayIQN)
	return s, raw, "naa." + strings.TrimPrefix(raw.AddLUN(lun, size), "3")
}

// handWritten is what an administrator writes into a PersistentVolume; wwid may be empty.
func handWritten(s *labenv.Stack, wwid string) *labenv.Volume {
	attributes := map[string]string{
		"iqn": arrayIQN, "portals": strings.Join(s.Net.Portals, ","), "lun": "7", "interfaces": "san-a,san-b",
	}
	if wwid != "" {
		attributes["wwid"] = wwid
	}
	return s.Adopt(&csi.Volume{VolumeId: "static/legacy", VolumeContext: attributes}, labenv.MountExt4)
}

func down(t *testing.T, s *labenv.Stack, v *labenv.Volume) {
	t.Helper()
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{v.Unpublish, v.Unstage, v.ControllerUnpublish} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLife attaches a LUN of a vendor that our multipath section does not name, over all paths, twice.
func TestLife(t *testing.T) {
	s, _, wwid := array(t)
	for _, given := range []string{wwid, ""} {
		v := handWritten(s, given)
		v.Up()
		if n := len(labenv.MapPaths(labenv.Maps()[0])); n != 4 {
			t.Errorf("%d paths in the map, expected 4", n)
		}
		file := filepath.Join(v.TargetPath, "content")
		if given != "" {
			if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != "kept" {
			t.Errorf("content is %q, %v", data, err)
		}
		down(t, s, v)
	}
}

// TestLearnedWWID shows that a volume without a WWID is held to the one that its paths had the first time: another
// unit under the same number is refused, and nothing is written to it.
func TestLearnedWWID(t *testing.T) {
	s, raw, _ := array(t)
	v := handWritten(s, "")
	v.Up()
	down(t, s, v)

	raw.ReplaceLUN(lun, size)
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	if err := v.ControllerPublish(ctx); err != nil {
		t.Fatal(err)
	}
	err := v.Stage(ctx)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "WWID") {
		t.Errorf("stage over another unit: %v", err)
	}
	if maps := labenv.Maps(); len(maps) > 0 {
		t.Errorf("a map was made of it: %v", maps)
	}
	if err := v.Unstage(ctx); err != nil {
		t.Error(err)
	}
}

// TestWrongWWID refuses a LUN that is not the one which the administrator named.
func TestWrongWWID(t *testing.T) {
	s, _, wwid := array(t)
	v := handWritten(s, wwid[:len(wwid)-4]+"beef")
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	if err := v.ControllerPublish(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Stage(ctx); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), wwid) {
		t.Errorf("stage of the wrong unit: %v", err)
	}
	if err := v.Unstage(ctx); err != nil {
		t.Error(err)
	}
}
