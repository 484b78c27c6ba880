package driver

import (
	"maps"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

func (h *harness) modify(id string, params map[string]string) error {
	_, err := h.ControllerModifyVolume(h.ctx(), &csi.ControllerModifyVolumeRequest{VolumeId: id, MutableParameters: params})
	return err
}

// published gives the publish context less the LUN.
func (h *harness) published(v *csi.Volume) map[string]string {
	h.Helper()
	resp, err := h.ControllerPublishVolume(h.ctx(), publishRequest(v, nodeA))
	h.want(err, codes.OK, "publish")
	out := resp.GetPublishContext()
	delete(out, "lun")
	return out
}

func (h *harness) wantPublished(v *csi.Volume, want map[string]string) {
	h.Helper()
	if got := h.published(v); !maps.Equal(got, want) {
		h.Errorf("published with %v, want %v", got, want)
	}
}

// TestModifyVolume follows a policy from the class, with a VolumeAttributesClass on top, through changes to what nodes get.
func TestModifyVolume(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	req := createRequest("pvc-1")
	req.Parameters["pathSelector"], req.Parameters["noPathRetry"] = "round-robin", "30s"
	req.MutableParameters = map[string]string{"noPathRetry": "300s", "preferredInterface": "san-b"}
	resp, err := h.CreateVolume(h.ctx(), req)
	h.want(err, codes.OK, "create")
	v := resp.GetVolume()
	h.wantPublished(v, map[string]string{"pathSelector": "round-robin", "noPathRetry": "5m0s", "preferredInterface": "san-b"})

	h.want(h.modify(v.GetVolumeId(), map[string]string{"noPathRetry": "fail", "pathSelector": ""}), codes.OK, "modify")
	h.wantPublished(v, map[string]string{"noPathRetry": "fail", "preferredInterface": "san-b"})
	h.want(h.modify(v.GetVolumeId(), nil), codes.OK, "modify nothing")
	h.wantPublished(v, map[string]string{"noPathRetry": "fail", "preferredInterface": "san-b"})

	plain := h.create("pvc-2")
	h.wantPublished(plain, map[string]string{})
	h.want(h.modify(plain.GetVolumeId(), map[string]string{"pathGroupingPolicy": "failover"}), codes.OK, "modify")
	h.wantPublished(plain, map[string]string{"pathGroupingPolicy": "failover"})
	h.want(h.modify(plain.GetVolumeId(), map[string]string{"failureDetection": "fast"}), codes.OK, "modify")
	h.wantPublished(plain, map[string]string{"pathGroupingPolicy": "failover", "failureDetection": "fast"})
	h.want(h.modify(plain.GetVolumeId(), map[string]string{"failureDetection": "default"}), codes.OK, "modify")
	h.wantPublished(plain, map[string]string{"pathGroupingPolicy": "failover"})
}

func TestModifyVolumeRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	h.want(h.modify(v.GetVolumeId(), map[string]string{"preferredInterface": "san-a"}), codes.OK, "modify")
	for what, c := range map[string]struct {
		id     string
		params map[string]string
		code   codes.Code
		words  []string
	}{
		"no volume":         {"", nil, codes.InvalidArgument, []string{"volume_id"}},
		"hostile volume":    {"../../x", nil, codes.InvalidArgument, []string{"volume_id"}},
		"not there":         {"stor1/fast/none", nil, codes.NotFound, nil},
		"static":            {"static/x", map[string]string{"pathSelector": "round-robin"}, codes.InvalidArgument, []string{"static"}},
		"unknown key":       {v.GetVolumeId(), map[string]string{"iops": "1"}, codes.InvalidArgument, []string{"mutable_parameters", "iops", "noPathRetry"}},
		"not changeable":    {v.GetVolumeId(), map[string]string{"minPaths": "1"}, codes.InvalidArgument, []string{"minPaths"}},
		"unknown selector":  {v.GetVolumeId(), map[string]string{"pathSelector": "best"}, codes.InvalidArgument, []string{"pathSelector", "best", "queue-length"}},
		"unknown grouping":  {v.GetVolumeId(), map[string]string{"pathGroupingPolicy": "x"}, codes.InvalidArgument, []string{"failover"}},
		"unknown interface": {v.GetVolumeId(), map[string]string{"preferredInterface": "san-z"}, codes.InvalidArgument, []string{"san-z", "san-a, san-b"}},
		"no such detection": {v.GetVolumeId(), map[string]string{"failureDetection": "1s"}, codes.InvalidArgument, []string{"failureDetection", "1s", "fast, default"}},
		"no time":           {v.GetVolumeId(), map[string]string{"noPathRetry": "forever"}, codes.InvalidArgument, []string{"forever", "queue, fail", "30s"}},
		"does not go with what it has": {
			v.GetVolumeId(), map[string]string{"pathGroupingPolicy": "multibus"}, codes.InvalidArgument, []string{"pathGroupingPolicy", "preferredInterface"},
		},
	} {
		h.want(h.modify(c.id, c.params), c.code, what, c.words...)
	}
	h.wantPublished(v, map[string]string{"preferredInterface": "san-a"})
}

func TestCreateVolumePolicyRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for what, c := range map[string]struct {
		params, mutable map[string]string
		words           []string
	}{
		"selector":                {map[string]string{"pathSelector": "best"}, nil, []string{`parameters["pathSelector"]`, "best", "service-time"}},
		"grouping":                {nil, map[string]string{"pathGroupingPolicy": "x"}, []string{`mutable_parameters["pathGroupingPolicy"]`, "multibus"}},
		"retry":                   {map[string]string{"noPathRetry": "12"}, nil, []string{`parameters["noPathRetry"]`, "12", "30s"}},
		"unused":                  {map[string]string{"preferredInterface": "san-c"}, nil, []string{`parameters["preferredInterface"]`, "san-c", "san-a, san-b"}},
		"unused, as an attribute": {nil, map[string]string{"preferredInterface": "san-c"}, []string{`mutable_parameters["preferredInterface"]`, "san-c"}},
		"together":                {map[string]string{"preferredInterface": "san-a"}, map[string]string{"pathGroupingPolicy": "multibus"}, []string{"multibus"}},
	} {
		req := createRequest("pvc-1")
		maps.Copy(req.Parameters, c.params)
		req.MutableParameters = c.mutable
		_, err := h.CreateVolume(h.ctx(), req)
		h.want(err, codes.InvalidArgument, what, c.words...)
	}
	if names := h.names(); len(names) > 0 {
		t.Errorf("made: %v", names)
	}
}
