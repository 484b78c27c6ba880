package driver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

func TestCreateVolume(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	if v.GetVolumeId() != "stor1/fast/pvc-1" || v.GetCapacityBytes() != gib {
		t.Errorf("created %v", v)
	}
	id, _ := volume.ParseVolumeID(v.GetVolumeId())
	vc, err := volume.ParseContext(id, v.GetVolumeContext())
	if err != nil {
		t.Fatal(err)
	}
	if vc.IQN != "iqn.2026-11.io.portbind:target-1" || len(vc.Portals) != 2 || vc.MinPaths != 2 ||
		!slices.Equal(vc.Interfaces, []string{"san-a", "san-b"}) {
		t.Errorf("context is %+v", vc)
	}
	if again := h.create("pvc-1"); !proto.Equal(again, v) {
		t.Errorf("created again: %v", again)
	}
	larger := createRequest("pvc-1")
	larger.CapacityRange.RequiredBytes = 2 * gib
	_, err = h.CreateVolume(h.ctx(), larger)
	h.want(err, codes.AlreadyExists, "another size")

	odd := createRequest("Some Name ../../x")
	resp, err := h.CreateVolume(h.ctx(), odd)
	h.want(err, codes.OK, "a name that does not fit")
	if !strings.HasPrefix(resp.GetVolume().GetVolumeId(), "stor1/fast/h-") {
		t.Errorf("created %v", resp.GetVolume())
	}
}

func TestCreateVolumeRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	source := h.create("source")
	before := h.names()
	name := func(s string) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) { r.Name = s }
	}
	parameter := func(k, v string) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) { r.Parameters[k] = v }
	}
	size := func(required, limit int64) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) {
			r.CapacityRange = &csi.CapacityRange{RequiredBytes: required, LimitBytes: limit}
		}
	}
	capability := func(c ...*csi.VolumeCapability) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = c }
	}
	from := func(id string) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) {
			r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
				Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id},
			}}
		}
	}
	for what, c := range map[string]struct {
		spoil func(*csi.CreateVolumeRequest)
		code  codes.Code
		words []string
	}{
		"no name":             {name(""), codes.InvalidArgument, []string{"name"}},
		"control character":   {name("a\x00b"), codes.InvalidArgument, []string{"name"}},
		"10 KB name":          {name(strings.Repeat("x", 10<<10)), codes.InvalidArgument, []string{"name", "128"}},
		"unknown parameter":   {parameter("minpaths", "1"), codes.InvalidArgument, []string{"minpaths", "minPaths", "interfaces"}},
		"negative minPaths":   {parameter("minPaths", "-1"), codes.InvalidArgument, []string{"minPaths", "-1", "1 to 64"}},
		"more than the paths": {parameter("minPaths", "5"), codes.InvalidArgument, []string{"minPaths", "1 to 4"}},
		"malformed interface": {parameter("interfaces", "san-a,../x"), codes.InvalidArgument, []string{"interfaces", "../x"}},
		"unknown interface":   {parameter("interfaces", "san-a,san-z"), codes.InvalidArgument, []string{"interfaces", "san-z", "san-a, san-b"}},
		"unknown pairing":     {parameter("pairing", "both"), codes.InvalidArgument, []string{"pairing", "auto, mesh, fabric"}},
		"unknown file system, as the provisioner repeats it": {func(r *csi.CreateVolumeRequest) {
			r.Parameters["fsType"] = "ntfs"
			r.GetVolumeCapabilities()[0].GetMount().FsType = "ntfs"
		}, codes.InvalidArgument, []string{`parameters["fsType"]`, "ext4, xfs, btrfs"}},
		"unknown file system":    {parameter("fsType", "ntfs"), codes.InvalidArgument, []string{"fsType", "ext4, xfs, btrfs"}},
		"unknown target":         {parameter("target", "stor9"), codes.InvalidArgument, []string{"target", "stor1, stor2"}},
		"static target":          {parameter("target", "static"), codes.InvalidArgument, []string{"target"}},
		"unknown pool":           {parameter("pool", "gold"), codes.InvalidArgument, []string{"pool", "stor1/fast", "stor1/slow"}},
		"hostile pool":           {parameter("pool", "../vg0"), codes.InvalidArgument, []string{"pool"}},
		"negative size":          {size(-1, 0), codes.InvalidArgument, []string{"required_bytes"}},
		"limit below required":   {size(2*gib, gib), codes.InvalidArgument, []string{"limit_bytes"}},
		"limit below the least":  {size(0, 1<<20), codes.OutOfRange, []string{"limit_bytes", "16777216"}},
		"more than any volume":   {size(1<<61, 0), codes.OutOfRange, []string{"required_bytes"}},
		"more than the target's": {size(1<<50, 0), codes.OutOfRange, nil},
		"no capability":          {capability(), codes.InvalidArgument, []string{"volume_capabilities"}},
		"many writers of a file system": {
			capability(mountCap(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)),
			codes.InvalidArgument,
			[]string{"access_mode", "block"},
		},
		"no access mode": {capability(mountCap(csi.VolumeCapability_AccessMode_UNKNOWN)), codes.InvalidArgument, []string{"access_mode"}},
		"no access type": {
			capability(&csi.VolumeCapability{AccessMode: mountCap(single).GetAccessMode()}),
			codes.InvalidArgument,
			[]string{"block or mount"},
		},
		"mutable parameters": {
			func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"iops": "1"} },
			codes.InvalidArgument,
			[]string{"mutable_parameters"},
		},
		"source in another pool": {
			func(r *csi.CreateVolumeRequest) { from(source.GetVolumeId())(r); r.Parameters["pool"] = "slow" },
			codes.InvalidArgument,
			[]string{"pool", "fast"},
		},
		"source on another target": {
			func(r *csi.CreateVolumeRequest) { from(source.GetVolumeId())(r); r.Parameters["target"] = "stor2" },
			codes.InvalidArgument,
			[]string{"target", "stor1"},
		},
		"source not there":      {from("stor1/fast/none"), codes.NotFound, nil},
		"source of no driver":   {from("fake-vol-id"), codes.NotFound, nil},
		"hostile source":        {from("../../x"), codes.InvalidArgument, []string{"volume_id"}},
		"static source":         {from("static/x"), codes.InvalidArgument, []string{"volume_content_source"}},
		"source that is larger": {func(r *csi.CreateVolumeRequest) { from(source.GetVolumeId())(r); size(gib/2, 0)(r) }, codes.OutOfRange, nil},
	} {
		req := createRequest("pvc-bad")
		c.spoil(req)
		_, err := h.CreateVolume(h.ctx(), req)
		h.want(err, c.code, what, c.words...)
	}
	if diff := cmp.Diff(before, h.names()); diff != "" {
		t.Errorf("refused requests left something:\n%s", diff)
	}
}

func TestCreateVolumeLeastSizes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for fsType, least := range map[string]int64{"ext4": 16 << 20, "xfs": 300 << 20, "btrfs": 128 << 20} {
		req := createRequest("pvc-" + fsType)
		req.Parameters["fsType"] = fsType
		req.CapacityRange.RequiredBytes = 1
		resp, err := h.CreateVolume(h.ctx(), req)
		h.want(err, codes.OK, fsType)
		if resp.GetVolume().GetCapacityBytes() < least {
			t.Errorf("%s: %d bytes, want at least %d", fsType, resp.GetVolume().GetCapacityBytes(), least)
		}
	}
}

func TestPlacement(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	place := func(name string, parameters map[string]string) string {
		t.Helper()
		req := createRequest(name)
		req.Parameters = parameters
		resp, err := h.CreateVolume(h.ctx(), req)
		h.want(err, codes.OK, name)
		return strings.TrimSuffix(resp.GetVolume().GetVolumeId(), "/"+name)
	}
	for name, c := range map[string]struct {
		parameters map[string]string
		want       string
	}{
		"anywhere":   {nil, "stor2/fast"},
		"one-target": {map[string]string{"target": "stor1"}, "stor1/slow"},
		"one-pool":   {map[string]string{"pool": "fast"}, "stor2/fast"},
		"both":       {map[string]string{"target": "stor1", "pool": "fast"}, "stor1/fast"},
	} {
		if got := place(name, c.parameters); got != c.want {
			t.Errorf("%s: made on %s, want %s", name, got, c.want)
		}
	}
	// A retry finds what the first try made, even when another place has more room by now.
	big := createRequest("big")
	big.Parameters, big.CapacityRange.RequiredBytes = map[string]string{"target": "stor2"}, 299*gib
	_, err := h.CreateVolume(h.ctx(), big)
	h.want(err, codes.OK, "big")
	if got := place("anywhere", nil); got != "stor2/fast" {
		t.Errorf("a retry went to %s", got)
	}
	if got := place("later", nil); got != "stor1/slow" {
		t.Errorf("made on %s, want where there is room", got)
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	snap, err := h.CreateSnapshot(h.ctx(), &csi.CreateSnapshotRequest{Name: "snap-1", SourceVolumeId: v.GetVolumeId()})
	h.want(err, codes.OK, "CreateSnapshot")
	s := snap.GetSnapshot()
	if s.GetSnapshotId() != "stor1/fast/snap-1" || s.GetSourceVolumeId() != v.GetVolumeId() || !s.GetReadyToUse() || s.GetSizeBytes() != gib {
		t.Errorf("snapshot is %v", s)
	}
	for name, source := range map[string]*csi.VolumeContentSource{
		"from-snapshot": {Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: s.GetSnapshotId()},
		}},
		"from-volume": {Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.GetVolumeId()}}},
	} {
		req := createRequest(name)
		req.Parameters, req.VolumeContentSource, req.CapacityRange.RequiredBytes = nil, source, 2*gib
		resp, err := h.CreateVolume(h.ctx(), req)
		h.want(err, codes.OK, name)
		got := resp.GetVolume()
		if got.GetVolumeId() != "stor1/fast/"+name || got.GetCapacityBytes() != 2*gib || !proto.Equal(got.GetContentSource(), source) {
			t.Errorf("%s: made %v", name, got)
		}
	}
	_, err = h.CreateSnapshot(h.ctx(), &csi.CreateSnapshotRequest{Name: "snap-1", SourceVolumeId: "stor1/fast/from-volume"})
	h.want(err, codes.AlreadyExists, "the name of another volume's snapshot")
}

func TestPublish(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	resp, err := h.ControllerPublishVolume(h.ctx(), publishRequest(v, nodeA))
	h.want(err, codes.OK, "publish")
	if diff := cmp.Diff(map[string]string{"lun": "0"}, resp.GetPublishContext()); diff != "" {
		t.Errorf("publish context:\n%s", diff)
	}
	_, err = h.ControllerPublishVolume(h.ctx(), publishRequest(v, nodeA))
	h.want(err, codes.OK, "publish again")
	readOnly := publishRequest(v, nodeA)
	readOnly.Readonly = true
	_, err = h.ControllerPublishVolume(h.ctx(), readOnly)
	h.want(err, codes.AlreadyExists, "publish read-only")
	_, err = h.ControllerPublishVolume(h.ctx(), publishRequest(v, nodeB))
	h.want(err, codes.FailedPrecondition, "publish to another node", nodeA)
	got, err := h.ControllerGetVolume(h.ctx(), &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
	h.want(err, codes.OK, "get")
	if !slices.Equal(got.GetStatus().GetPublishedNodeIds(), []string{nodeA}) {
		t.Errorf("published to %v", got.GetStatus())
	}
	_, err = h.DeleteVolume(h.ctx(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
	h.want(err, codes.FailedPrecondition, "delete while published")
	for _, node := range []string{nodeA, nodeA, ""} {
		_, err = h.ControllerUnpublishVolume(h.ctx(), &csi.ControllerUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), NodeId: node})
		h.want(err, codes.OK, "unpublish from "+node)
	}
	_, err = h.DeleteVolume(h.ctx(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
	h.want(err, codes.OK, "delete")
}

func TestPublishShared(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, c := range map[string]*csi.VolumeCapability{
		"readers":     mountCap(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY),
		"raw-writers": blockCap(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER),
	} {
		v := h.create(name)
		for _, node := range []string{nodeA, nodeB} {
			req := publishRequest(v, node)
			req.VolumeCapability = c
			_, err := h.ControllerPublishVolume(h.ctx(), req)
			h.want(err, codes.OK, name+" to "+node)
		}
	}
	writer := publishRequest(&csi.Volume{VolumeId: "stor1/fast/readers"}, nodeA)
	_, err := h.ControllerPublishVolume(h.ctx(), writer)
	h.want(err, codes.AlreadyExists, "a writer where there is a reader")
}

func TestPublishRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	for name, c := range map[string]struct {
		spoil func(*csi.ControllerPublishVolumeRequest)
		code  codes.Code
		word  string
	}{
		"no volume":        {func(r *csi.ControllerPublishVolumeRequest) { r.VolumeId = "" }, codes.InvalidArgument, "volume_id"},
		"hostile volume":   {func(r *csi.ControllerPublishVolumeRequest) { r.VolumeId = "../../x" }, codes.InvalidArgument, "volume_id"},
		"foreign volume":   {func(r *csi.ControllerPublishVolumeRequest) { r.VolumeId = "fake-vol-id" }, codes.NotFound, ""},
		"volume not there": {func(r *csi.ControllerPublishVolumeRequest) { r.VolumeId = "stor1/fast/none" }, codes.NotFound, ""},
		"target not there": {func(r *csi.ControllerPublishVolumeRequest) { r.VolumeId = "stor9/fast/x" }, codes.FailedPrecondition, "stor9"},
		"10 KB node": {
			func(r *csi.ControllerPublishVolumeRequest) { r.NodeId = strings.Repeat("x", 10<<10) },
			codes.InvalidArgument, "node_id",
		},
		"no capability": {
			func(r *csi.ControllerPublishVolumeRequest) { r.VolumeCapability = nil },
			codes.InvalidArgument, "volume_capability",
		},
		"no node":      {func(r *csi.ControllerPublishVolumeRequest) { r.NodeId = "" }, codes.InvalidArgument, "node_id"},
		"foreign node": {func(r *csi.ControllerPublishVolumeRequest) { r.NodeId = "fake-node-id" }, codes.NotFound, "node_id"},
		"hostile node": {func(r *csi.ControllerPublishVolumeRequest) { r.NodeId = nodeA + "\n../x" }, codes.InvalidArgument, "node_id"},
		"half a secret": {func(r *csi.ControllerPublishVolumeRequest) {
			r.Secrets = map[string]string{"node.session.auth.password": "hunter2"}
		}, codes.InvalidArgument, "node.session.auth.username"},
	} {
		req := publishRequest(v, nodeA)
		c.spoil(req)
		_, err := h.ControllerPublishVolume(h.ctx(), req)
		h.want(err, c.code, name, c.word)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v repeats a secret", name, err)
		}
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := &csi.Volume{VolumeId: "static/lun-7", VolumeContext: map[string]string{
		"iqn": "iqn.1992-08.com.array:sn.1", "portals": "192.0.2.10,192.0.2.11:3260", "lun": "7",
	}}
	resp, err := h.ControllerPublishVolume(h.ctx(), publishRequest(v, nodeA))
	h.want(err, codes.OK, "publish")
	if resp.GetPublishContext()["lun"] != "7" {
		t.Errorf("publish context is %v", resp.GetPublishContext())
	}
	bad := publishRequest(v, nodeA)
	bad.VolumeContext = maps.Clone(bad.GetVolumeContext())
	delete(bad.GetVolumeContext(), "lun")
	_, err = h.ControllerPublishVolume(h.ctx(), bad)
	h.want(err, codes.InvalidArgument, "publish without a LUN", "lun")
	valid, err := h.ValidateVolumeCapabilities(h.ctx(), &csi.ValidateVolumeCapabilitiesRequest{
		VolumeId: v.GetVolumeId(), VolumeContext: v.GetVolumeContext(), VolumeCapabilities: []*csi.VolumeCapability{mountCap(single)},
	})
	h.want(err, codes.OK, "validate")
	if valid.GetConfirmed() == nil {
		t.Errorf("not confirmed: %s", valid.GetMessage())
	}
	_, err = h.ControllerUnpublishVolume(h.ctx(), &csi.ControllerUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), NodeId: nodeA})
	h.want(err, codes.OK, "unpublish")
	_, err = h.DeleteVolume(h.ctx(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
	h.want(err, codes.InvalidArgument, "delete", "static")
	_, err = h.CreateSnapshot(h.ctx(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.GetVolumeId()})
	h.want(err, codes.InvalidArgument, "snapshot", "static")
	_, err = h.ControllerExpandVolume(h.ctx(), &csi.ControllerExpandVolumeRequest{
		VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: gib},
	})
	h.want(err, codes.InvalidArgument, "expand", "static")
}

func TestValidateVolumeCapabilities(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	good := &csi.ValidateVolumeCapabilitiesRequest{
		VolumeId: v.GetVolumeId(), VolumeContext: v.GetVolumeContext(), Parameters: createRequest("x").GetParameters(),
		VolumeCapabilities: []*csi.VolumeCapability{mountCap(single), blockCap(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)},
	}
	resp, err := h.ValidateVolumeCapabilities(h.ctx(), good)
	h.want(err, codes.OK, "validate")
	if len(resp.GetConfirmed().GetVolumeCapabilities()) != 2 {
		t.Errorf("not confirmed: %s", resp.GetMessage())
	}
	for name, spoil := range map[string]func(*csi.ValidateVolumeCapabilitiesRequest){
		"mode": func(r *csi.ValidateVolumeCapabilitiesRequest) {
			r.VolumeCapabilities = []*csi.VolumeCapability{mountCap(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)}
		},
		"parameter": func(r *csi.ValidateVolumeCapabilitiesRequest) { r.Parameters = map[string]string{"x": "y"} },
		"context":   func(r *csi.ValidateVolumeCapabilitiesRequest) { r.VolumeContext = map[string]string{"iqn": "y"} },
	} {
		req, ok := proto.Clone(good).(*csi.ValidateVolumeCapabilitiesRequest)
		if !ok {
			t.Fatal("clone")
		}
		spoil(req)
		resp, err := h.ValidateVolumeCapabilities(h.ctx(), req)
		h.want(err, codes.OK, name)
		if resp.GetConfirmed() != nil || resp.GetMessage() == "" {
			t.Errorf("%s: confirmed", name)
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	expand := func(id string, required, limit int64) (*csi.ControllerExpandVolumeResponse, error) {
		return h.ControllerExpandVolume(h.ctx(), &csi.ControllerExpandVolumeRequest{
			VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: required, LimitBytes: limit},
		})
	}
	resp, err := expand(v.GetVolumeId(), 2*gib, 0)
	h.want(err, codes.OK, "expand")
	if resp.GetCapacityBytes() != 2*gib || !resp.GetNodeExpansionRequired() {
		t.Errorf("expanded to %v", resp)
	}
	_, err = expand(v.GetVolumeId(), 0, 0)
	h.want(err, codes.InvalidArgument, "no range")
	_, err = expand(v.GetVolumeId(), 1<<50, 0)
	h.want(err, codes.OutOfRange, "too large")
	_, err = expand("stor1/fast/none", 2*gib, 0)
	h.want(err, codes.NotFound, "not there")
}

// listAll follows the tokens of ListVolumes and ListSnapshots.
func listAll(h *harness, limit int32, list func(limit int32, token string) (ids []string, next string, err error)) (all []string) {
	h.Helper()
	token := ""
	for range 1000 {
		ids, next, err := list(limit, token)
		if err != nil {
			h.Fatal(err)
		}
		if limit > 0 && len(ids) > int(limit) {
			h.Fatalf("%d entries in a page of %d", len(ids), limit)
		}
		all = append(all, ids...)
		if token = next; token == "" {
			return all
		}
	}
	h.Fatal("no end")
	return nil
}

func TestListsOverTargets(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var volumes, snapshots []string
	for i := range 9 {
		req := createRequest(fmt.Sprintf("pvc-%d", i))
		req.Parameters = map[string]string{"target": []string{"stor1", "stor2"}[i%2], "pool": "fast"}
		resp, err := h.CreateVolume(h.ctx(), req)
		h.want(err, codes.OK, "create")
		volumes = append(volumes, resp.GetVolume().GetVolumeId())
		snap, err := h.CreateSnapshot(h.ctx(), &csi.CreateSnapshotRequest{
			Name: fmt.Sprintf("s-%d", i), SourceVolumeId: resp.GetVolume().GetVolumeId(),
		})
		h.want(err, codes.OK, "snapshot")
		snapshots = append(snapshots, snap.GetSnapshot().GetSnapshotId())
	}
	slices.Sort(volumes)
	slices.Sort(snapshots)
	for _, limit := range []int32{0, 1, 2, 4, 5, 9, 100} {
		got := listAll(h, limit, func(limit int32, token string) (ids []string, next string, err error) {
			resp, err := h.ListVolumes(h.ctx(), &csi.ListVolumesRequest{MaxEntries: limit, StartingToken: token})
			for _, e := range resp.GetEntries() {
				ids = append(ids, e.GetVolume().GetVolumeId())
			}
			return ids, resp.GetNextToken(), err
		})
		if diff := cmp.Diff(volumes, got); diff != "" {
			t.Errorf("volumes by %d:\n%s", limit, diff)
		}
		got = listAll(h, limit, func(limit int32, token string) (ids []string, next string, err error) {
			resp, err := h.ListSnapshots(h.ctx(), &csi.ListSnapshotsRequest{MaxEntries: limit, StartingToken: token})
			for _, e := range resp.GetEntries() {
				ids = append(ids, e.GetSnapshot().GetSnapshotId())
			}
			return ids, resp.GetNextToken(), err
		})
		if diff := cmp.Diff(snapshots, got); diff != "" {
			t.Errorf("snapshots by %d:\n%s", limit, diff)
		}
	}
	for _, token := range []string{"invalid-token", "stor9/", "stor1/garbage", "/"} {
		_, err := h.ListVolumes(h.ctx(), &csi.ListVolumesRequest{StartingToken: token})
		h.want(err, codes.Aborted, "token "+token)
	}
	_, err := h.ListVolumes(h.ctx(), &csi.ListVolumesRequest{MaxEntries: -1})
	h.want(err, codes.InvalidArgument, "negative page", "max_entries")
}

func TestListSnapshotsFilters(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	made, err := h.CreateSnapshot(h.ctx(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.GetVolumeId()})
	h.want(err, codes.OK, "snapshot")
	id := made.GetSnapshot().GetSnapshotId()
	for name, c := range map[string]struct {
		req  *csi.ListSnapshotsRequest
		want int
	}{
		"by id":                {&csi.ListSnapshotsRequest{SnapshotId: id}, 1},
		"by source":            {&csi.ListSnapshotsRequest{SourceVolumeId: v.GetVolumeId()}, 1},
		"by both":              {&csi.ListSnapshotsRequest{SnapshotId: id, SourceVolumeId: v.GetVolumeId()}, 1},
		"by id of no source":   {&csi.ListSnapshotsRequest{SnapshotId: id, SourceVolumeId: "stor1/fast/none"}, 0},
		"by another id":        {&csi.ListSnapshotsRequest{SnapshotId: "stor1/fast/none"}, 0},
		"by a foreign id":      {&csi.ListSnapshotsRequest{SnapshotId: "none-snapshot"}, 0},
		"by a foreign source":  {&csi.ListSnapshotsRequest{SourceVolumeId: "fake-vol-id"}, 0},
		"by a static source":   {&csi.ListSnapshotsRequest{SourceVolumeId: "static/x"}, 0},
		"by another's source":  {&csi.ListSnapshotsRequest{SourceVolumeId: "stor2/fast/x"}, 0},
		"by a source that was": {&csi.ListSnapshotsRequest{SourceVolumeId: "stor1/fast/gone"}, 0},
	} {
		resp, err := h.ListSnapshots(h.ctx(), c.req)
		h.want(err, codes.OK, name)
		if len(resp.GetEntries()) != c.want {
			t.Errorf("%s: %d snapshots, want %d", name, len(resp.GetEntries()), c.want)
		}
	}
	got, err := h.GetSnapshot(h.ctx(), &csi.GetSnapshotRequest{SnapshotId: id})
	h.want(err, codes.OK, "get")
	if !proto.Equal(got.GetSnapshot(), made.GetSnapshot()) {
		t.Errorf("got %v", got)
	}
	_, err = h.GetSnapshot(h.ctx(), &csi.GetSnapshotRequest{SnapshotId: "stor1/fast/none"})
	h.want(err, codes.NotFound, "get another")
}

func TestGetCapacity(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, c := range map[string]struct {
		parameters map[string]string
		want, most int64
	}{
		"all":    {nil, 600 * gib, 300 * gib},
		"target": {map[string]string{"target": "stor1"}, 300 * gib, 200 * gib},
		"pool":   {map[string]string{"pool": "fast"}, 400 * gib, 300 * gib},
		"both":   {map[string]string{"target": "stor1", "pool": "slow"}, 200 * gib, 200 * gib},
		// CreateVolume is to be asked, which says what is wrong.
		"unknown target":    {map[string]string{"target": "x"}, 600 * gib, 300 * gib},
		"unknown pool":      {map[string]string{"target": "stor1", "pool": "x"}, 600 * gib, 300 * gib},
		"unknown parameter": {map[string]string{"target": "stor1", "colour": "x"}, 600 * gib, 300 * gib},
	} {
		resp, err := h.GetCapacity(h.ctx(), &csi.GetCapacityRequest{Parameters: c.parameters})
		h.want(err, codes.OK, name)
		if resp.GetAvailableCapacity() != c.want || resp.GetMaximumVolumeSize().GetValue() != c.most {
			t.Errorf("%s: %v, want %d and at most %d", name, resp, c.want, c.most)
		}
	}
}

func TestOneTargetDown(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.targets["stor2"].SetDown(fmt.Errorf("connection refused: %w", backend.ErrUnavailable))
	v := h.create("pinned")
	_, err := h.ControllerPublishVolume(h.ctx(), publishRequest(v, nodeA))
	h.want(err, codes.OK, "publish on the target that is up")
	anywhere := createRequest("anywhere")
	anywhere.Parameters = nil
	_, err = h.CreateVolume(h.ctx(), anywhere)
	h.want(err, codes.Unavailable, "create anywhere", "stor2")
	_, err = h.ListVolumes(h.ctx(), &csi.ListVolumesRequest{})
	h.want(err, codes.Unavailable, "list", "stor2")
	_, err = h.ListSnapshots(h.ctx(), &csi.ListSnapshotsRequest{SourceVolumeId: v.GetVolumeId()})
	h.want(err, codes.OK, "list the snapshots of a volume on the target that is up")
	probe, err := h.Probe(h.ctx(), &csi.ProbeRequest{})
	h.want(err, codes.OK, "probe")
	if !probe.GetReady().GetValue() {
		t.Error("not ready with one target up")
	}
	h.targets["stor2"].SetDown(nil)
	_, err = h.CreateVolume(h.ctx(), anywhere)
	h.want(err, codes.OK, "create anywhere later")
}

func TestProbe(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ready := func() bool {
		resp, err := h.Probe(h.ctx(), &csi.ProbeRequest{})
		h.want(err, codes.OK, "probe")
		return resp.GetReady().GetValue()
	}
	down := func(err error) {
		for _, b := range h.targets {
			b.SetDown(err)
		}
	}
	down(fmt.Errorf("%w: certificate has expired", backend.ErrUnavailable))
	if ready() {
		t.Error("ready before any target answered")
	}
	for name := range h.targets {
		if want := fmt.Sprintf(`target \"%s\": %v: certificate has expired`, name, backend.ErrUnavailable); !strings.Contains(h.log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	down(nil)
	if !ready() {
		t.Error("not ready")
	}
	down(backend.ErrUnavailable)
	if !ready() {
		t.Error("unready again: a restart would not bring the targets back")
	}
	none := serveTargets(t, nil, nil)
	resp, err := none.Probe(h.ctx(), &csi.ProbeRequest{})
	if err != nil || !resp.GetReady().GetValue() {
		t.Errorf("without targets: %v, %v", resp, err)
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]codes.Code{
		backend.ErrNotFound: codes.NotFound, backend.ErrExists: codes.AlreadyExists, backend.ErrExhausted: codes.ResourceExhausted,
		backend.ErrUnavailable: codes.Unavailable, backend.ErrBusy: codes.Aborted, errors.New("x"): codes.Internal,
		volume.NewFieldError("f", "v", "a"): codes.InvalidArgument,
	} {
		if got := codeOf(fmt.Errorf("around: %w", err), commonRules); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	special := []CodeRule{{backend.ErrNotFound, codes.DataLoss}}
	if got := codeOf(backend.ErrNotFound, append(special, commonRules...)); got != codes.DataLoss {
		t.Errorf("rules of the service do not go first: %s", got)
	}
}
