//go:build lab

package input

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portbind/portbind/test/lab/labenv"
)

// hostile strings go into every string field of every request.
var hostile = map[string]string{
	"path":        "../../../../etc/passwd",
	"dots":        "..",
	"absolute":    "/var/lib/kubelet/../../../etc",
	"newline":     "x\nnode.session.auth.password = y",
	"option":      "-rf",
	"long option": "--help",
	"commas":      "a,b,,c",
	"10 KB":       strings.Repeat("A", 10<<10),
	"NUL":         "x\x00y",
	"escape":      "\x1b[2J",
	"right-left":  "a\u202eb",
	"kelvin":      "\u212aernel",
	"space":       " ",
	"shell":       "$(reboot);`reboot`|reboot",
	"format":      "%s%n%x",
	"dollar":      "${IFS}",
	"slash":       "/",
}

// call is one method with a request that is right.
type call struct {
	name string
	req  proto.Message
	do   func(ctx context.Context, req proto.Message) error
}

func method[Req proto.Message, Resp any](name string, req Req, f func(context.Context, Req) (Resp, error)) call {
	return call{name, req, func(ctx context.Context, m proto.Message) error {
		_, err := f(ctx, m.(Req)) //nolint:errcheck,forcetypeassert // a clone of req
		return err
	}}
}

// TestHostileStrings puts hostile strings into every string field of every call, one at a time, while a volume is in use.
func TestHostileStrings(t *testing.T) {
	s := newStack(t)
	req := s.CreateRequest("hostile", 64*mib, withFlags("noatime"), map[string]string{
		"target": s.Target.Name, "pool": s.Target.Pools[0].Name(), "pairing": "auto", "minPaths": "1", "fsType": "ext4",
	})
	v := s.CreateFrom(req)
	v.Up()
	snap := snapshot(t, s, v)
	for _, c := range calls(s, v, snap, req) {
		t.Run(c.name, func(t *testing.T) {
			must(t, c.do(within(t, time.Minute), proto.Clone(c.req))) // the request itself is right and repeatable
			before, forks, n := world(s), started(t), 0
			eachString(c.req, func(field string, set func(string) proto.Message) {
				for kind, value := range hostile {
					n++
					try(t, c, field, kind, set(value))
				}
			})
			unchanged(t, s, before)
			// Threads of the servers count as well; a program per call would be as many as there were calls.
			if f := started(t) - forks; f > n/4+20 {
				t.Errorf("%d programs or threads started by %d refused calls", f, n)
			}
			t.Logf("%d calls", n)
		})
	}
	must(t, v.Publish(within(t, time.Minute))) // still there, still the same
	_, err := s.Controller.Controller.DeleteSnapshot(within(t, time.Minute), &csi.DeleteSnapshotRequest{SnapshotId: snap})
	must(t, err)
	v.Down()
	s.Tidy()
}

func withFlags(flags ...string) *csi.VolumeCapability {
	c, _ := proto.Clone(labenv.MountExt4).(*csi.VolumeCapability)
	c.GetMount().MountFlags = flags
	return c
}

func snapshot(t *testing.T, s *labenv.Stack, v *labenv.Volume) string {
	t.Helper()
	resp, err := s.Controller.Controller.CreateSnapshot(within(t, time.Minute), &csi.CreateSnapshotRequest{
		Name: "hostile-snap", SourceVolumeId: v.VolumeId,
	})
	must(t, err)
	return resp.GetSnapshot().GetSnapshotId()
}

// calls are requests that succeed as they are, and succeed again.
func calls(s *labenv.Stack, v *labenv.Volume, snap string, create *csi.CreateVolumeRequest) []call {
	c, n := s.Controller.Controller, s.Node.Node
	id := v.VolumeId
	list := []call{
		method("CreateVolume", create, curry(c.CreateVolume)),
		method("ControllerPublishVolume", &csi.ControllerPublishVolumeRequest{
			VolumeId: id, NodeId: s.NodeID, VolumeCapability: v.Cap, VolumeContext: v.VolumeContext,
		}, curry(c.ControllerPublishVolume)),
		method("ControllerExpandVolume", &csi.ControllerExpandVolumeRequest{
			VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 64 * mib}, VolumeCapability: v.Cap,
		}, curry(c.ControllerExpandVolume)),
		method("CreateSnapshot", &csi.CreateSnapshotRequest{Name: "hostile-snap", SourceVolumeId: id}, curry(c.CreateSnapshot)),
		method("ListSnapshots", &csi.ListSnapshotsRequest{SnapshotId: snap, SourceVolumeId: id}, curry(c.ListSnapshots)),
		// Its parameters are not refused: CreateVolume does that where the user sees it.
		method("GetCapacity", &csi.GetCapacityRequest{VolumeCapabilities: labenv.Capabilities(v.Cap)}, curry(c.GetCapacity)),
		method("NodeStageVolume", v.StageRequest(), curry(n.NodeStageVolume)),
		method("NodePublishVolume", v.PublishRequest(), curry(n.NodePublishVolume)),
		method("NodeGetVolumeStats", &csi.NodeGetVolumeStatsRequest{
			VolumeId: id, VolumePath: v.TargetPath, StagingTargetPath: v.StagingPath,
		}, curry(n.NodeGetVolumeStats)),
		method("NodeExpandVolume", &csi.NodeExpandVolumeRequest{
			VolumeId: id, VolumePath: v.TargetPath, StagingTargetPath: v.StagingPath, VolumeCapability: v.Cap,
		}, curry(n.NodeExpandVolume)),
	}
	return append(list, undoing(s, v, snap)...)
}

// undoing are the calls whose right request would take the volume away: they are given one for a volume that is not there.
func undoing(s *labenv.Stack, v *labenv.Volume, snap string) []call {
	c, n := s.Controller.Controller, s.Node.Node
	id, noSnap := v.VolumeId+"-not", snap+"-not"
	return []call{
		method("DeleteVolume", &csi.DeleteVolumeRequest{VolumeId: id}, curry(c.DeleteVolume)),
		method("DeleteSnapshot", &csi.DeleteSnapshotRequest{SnapshotId: noSnap}, curry(c.DeleteSnapshot)),
		method("ControllerUnpublishVolume", &csi.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: s.NodeID},
			curry(c.ControllerUnpublishVolume)),
		method("NodeUnstageVolume", &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: v.StagingPath + "-not"},
			curry(n.NodeUnstageVolume)),
		method("NodeUnpublishVolume", &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: v.TargetPath + "-not"},
			curry(n.NodeUnpublishVolume)),
	}
}

// curry leaves the call options of a client's method out.
func curry[Req, Resp, Opt any](f func(context.Context, Req, ...Opt) (Resp, error)) func(context.Context, Req) (Resp, error) {
	return func(ctx context.Context, r Req) (Resp, error) { return f(ctx, r) }
}

// wanted are the codes that a field's refusal may have; none when every value is right: names are the CO's, and become
// others when they must (TestNames). A path that is merely odd is one that nothing was published at.
func wanted(field string) []codes.Code {
	switch field {
	case "name":
		return nil
	case "volume_path":
		return []codes.Code{codes.InvalidArgument, codes.NotFound}
	default:
		return []codes.Code{codes.InvalidArgument}
	}
}

func try(t *testing.T, c call, field, kind string, req proto.Message) {
	t.Helper()
	want := wanted(field)
	if want == nil || unused(c, field) {
		return
	}
	err := c.do(within(t, 30*time.Second), req)
	if code := status.Code(err); !slices.Contains(want, code) {
		t.Errorf("%s with %s: got %v: %v; wanted %v", field, kind, code, err, want)
		return
	}
	text := status.Convert(err).Message()
	readable(t, text)
	named := strings.Contains(text, last(field))
	if !named || (status.Code(err) == codes.InvalidArgument && !strings.Contains(text, "allowed")) {
		t.Errorf("%s with %s: %q does not name the field and what is allowed", field, kind, text)
	}
}

// unused are fields that the call has no use for and does not read: the staging path of calls that know it from the
// volume's record.
func unused(c call, field string) bool {
	return field == "staging_target_path" && (c.name == "NodeGetVolumeStats" || c.name == "NodeExpandVolume")
}

// last is what an error must name: the field, or the key of a map.
func last(field string) string {
	if i := strings.LastIndexByte(field, '['); i >= 0 && strings.Contains(field[i:], `"`) {
		return strings.Trim(field[i:], `["]`)
	}
	return field[strings.LastIndexByte(field, '.')+1:]
}

// eachString calls f for every string that is set in a message, in maps, lists and messages inside, with a function that
// gives a copy of the message with that string replaced. Keys of maps get their turn too.
func eachString(m proto.Message, f func(field string, set func(string) proto.Message)) {
	walk(m.ProtoReflect(), "", func(field string, change func(root protoreflect.Message, value string)) {
		f(field, func(value string) proto.Message {
			c := proto.Clone(m)
			change(c.ProtoReflect(), value)
			return c
		})
	})
}

type changer = func(root protoreflect.Message, value string)

// walk visits the strings below a message. Each changer finds its place anew, from the root of a copy.
func walk(m protoreflect.Message, prefix string, visit func(field string, change changer)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := prefix + string(fd.Name())
		switch {
		case fd.IsMap():
			walkMap(fd, v.Map(), name, visit)
		case fd.IsList():
			walkList(fd, v.List(), name, visit)
		case fd.Kind() == protoreflect.StringKind:
			visit(name, func(root protoreflect.Message, value string) { root.Set(fd, protoreflect.ValueOfString(value)) })
		case fd.Kind() == protoreflect.MessageKind:
			walk(v.Message(), name+".", func(field string, change changer) {
				visit(field, func(root protoreflect.Message, value string) { change(root.Mutable(fd).Message(), value) })
			})
		}
		return true
	})
}

func walkMap(fd protoreflect.FieldDescriptor, m protoreflect.Map, name string, visit func(field string, change changer)) {
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		visit(fmt.Sprintf("%s[%q]", name, k.String()), func(root protoreflect.Message, value string) {
			root.Mutable(fd).Map().Set(k, protoreflect.ValueOfString(value))
		})
		return true
	})
	visit(name, func(root protoreflect.Message, value string) {
		root.Mutable(fd).Map().Set(protoreflect.ValueOfString(value).MapKey(), protoreflect.ValueOfString("x"))
	})
}

func walkList(fd protoreflect.FieldDescriptor, l protoreflect.List, name string, visit func(field string, change changer)) {
	for i := range l.Len() {
		if fd.Kind() == protoreflect.StringKind {
			visit(name, func(root protoreflect.Message, value string) {
				root.Mutable(fd).List().Set(i, protoreflect.ValueOfString(value))
			})
			continue
		}
		walk(l.Get(i).Message(), name+".", func(field string, change changer) {
			visit(field, func(root protoreflect.Message, value string) { change(root.Mutable(fd).List().Get(i).Message(), value) })
		})
	}
}

// TestNames: any printable name is the CO's to choose; it never becomes a path, and never another volume's.
func TestNames(t *testing.T) {
	s := newStack(t)
	ids := map[string]string{}
	for kind, name := range hostile {
		t.Run(kind, func(t *testing.T) {
			req := s.CreateRequest(name, 16*mib, labenv.Block, nil)
			resp, err := s.Controller.Controller.CreateVolume(within(t, time.Minute), req)
			if kind == "10 KB" || kind == "newline" || kind == "NUL" || kind == "escape" {
				refusal(t, err, codes.InvalidArgument, "name", "allowed", "128")
				return
			}
			must(t, err)
			id := resp.GetVolume().GetVolumeId()
			if other, taken := ids[id]; taken {
				t.Errorf("names %q and %q are one volume", other, name)
			}
			ids[id] = name
			if strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789.-/") != "" || strings.Contains(id, "..") || len(id) > 128 {
				t.Errorf("volume id %q", id)
			}
		})
	}
	for id := range ids {
		_, err := s.Controller.Controller.DeleteVolume(within(t, time.Minute), &csi.DeleteVolumeRequest{VolumeId: id})
		must(t, err)
	}
	s.Tidy()
}
