//go:build lab

package input

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestCreateRefusals are StorageClasses and sizes that cannot be: each is refused with the field and what is allowed.
func TestCreateRefusals(t *testing.T) {
	s := newStack(t)
	params := func(kv ...string) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) { r.Parameters[kv[0]] = kv[1] }
	}
	size := func(required, limit int64) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) {
			r.CapacityRange = &csi.CapacityRange{RequiredBytes: required, LimitBytes: limit}
		}
	}
	const invalid, outOfRange = codes.InvalidArgument, codes.OutOfRange
	before := world(s)
	for name, c := range map[string]struct {
		change func(*csi.CreateVolumeRequest)
		code   codes.Code
		words  []string
	}{
		"unknown parameter":         {params("minpaths", "1"), invalid, []string{"minpaths", "minPaths", "pairing"}},
		"parameter of another":      {params("replicas", "3"), invalid, []string{"replicas", "allowed"}},
		"unknown target":            {params("target", "nowhere"), invalid, []string{`"target"`, "nowhere", s.Target.Name}},
		"unknown pool":              {params("pool", "nowhere"), invalid, []string{`"pool"`, "nowhere", s.Target.Pools[0].Name()}},
		"malformed interface":       {params("interfaces", "san_a"), invalid, []string{`"interfaces"`, "san_a", "a-z"}},
		"upper case interface":      {params("interfaces", "SAN-A"), invalid, []string{`"interfaces"`, "SAN-A"}},
		"empty interface":           {params("interfaces", "san-a,,san-b"), invalid, []string{`"interfaces"`}},
		"interface twice":           {params("interfaces", "san-a,san-a"), invalid, []string{`"interfaces"`, "once"}},
		"interfaces without number": {params("interfaces", strings.Repeat("a,", 99)+"a"), invalid, []string{`"interfaces"`, "16"}},
		"unknown pairing":           {params("pairing", "all"), invalid, []string{`"pairing"`, "auto, mesh, fabric"}},
		"negative minPaths":         {params("minPaths", "-1"), invalid, []string{`"minPaths"`, "-1", "1 to 64"}},
		"no minPaths":               {params("minPaths", "0"), invalid, []string{`"minPaths"`, "1 to 64"}},
		"minPaths of letters":       {params("minPaths", "two"), invalid, []string{`"minPaths"`, "two"}},
		"minPaths with a sign":      {params("minPaths", "+2"), invalid, []string{`"minPaths"`}},
		"minPaths beyond int":       {params("minPaths", "99999999999999999999"), invalid, []string{`"minPaths"`}},
		"more minPaths than paths":  {params("minPaths", "5"), invalid, []string{`"minPaths"`, "1 to 4", "2 interfaces", "2 portals"}},
		"unknown file system":       {params("fsType", "ntfs"), invalid, []string{`"fsType"`, "ext4, xfs, btrfs"}},
		"file systems that differ":  {params("fsType", "xfs"), invalid, []string{"fs_type", "xfs"}},
		"negative size":             {size(-1, 0), invalid, []string{"required_bytes", "-1"}},
		"negative limit":            {size(0, -1), invalid, []string{"limit_bytes", "-1"}},
		"limit below size":          {size(64*mib, 32*mib), invalid, []string{"limit_bytes", "67108864"}},
		"limit below the least":     {size(1, mib), outOfRange, []string{"limit_bytes", "16777216"}},
		"size above every limit":    {size(1<<62, 0), outOfRange, []string{"required_bytes"}},
		"size above the pool's":     {size(1<<55, 0), outOfRange, []string{"bytes"}},
		"no capability":             {func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = nil }, invalid, []string{"volume_capabilities"}},
		"no name":                   {func(r *csi.CreateVolumeRequest) { r.Name = "" }, invalid, []string{"name"}},
		"several writers of a file system": {func(r *csi.CreateVolumeRequest) {
			r.VolumeCapabilities = labenv.Capabilities(manyWriters())
		}, invalid, []string{"access_mode", "raw block"}},
		"mutable parameters": {
			func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"iops": "1"} },
			invalid,
			[]string{"mutable_parameters"},
		},
		"mount flag that moves": {
			func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = labenv.Capabilities(withFlags("bind")) },
			invalid,
			[]string{"mount_flags", "bind"},
		},
		"source that is no snapshot": {
			func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromSnapshot("../x") },
			invalid,
			[]string{"snapshot_id"},
		},
		"source that does not exist": {func(r *csi.CreateVolumeRequest) {
			r.VolumeContentSource = fromSnapshot(s.Target.Name + "/" + s.Target.Pools[0].Name() + "/nothing")
		}, codes.NotFound, nil},
	} {
		t.Run(name, func(t *testing.T) {
			req := s.CreateRequest("refused", 64*mib, labenv.MountExt4, nil)
			c.change(req)
			_, err := s.Controller.Controller.CreateVolume(within(t, 30*time.Second), req)
			refusal(t, err, c.code, c.words...)
		})
	}
	unchanged(t, s, before)
	list, err := s.Controller.Controller.ListVolumes(within(t, time.Minute), &csi.ListVolumesRequest{})
	must(t, err)
	if n := len(list.GetEntries()); n > 0 {
		t.Errorf("%d volumes were made by refused calls", n)
	}
	s.Tidy()
}

func manyWriters() *csi.VolumeCapability {
	c := withFlags()
	c.AccessMode = &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER}
	return c
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id},
	}}
}

// TestStaticRefusals are PersistentVolumes written by hand, with mistakes. The node refuses before it does anything.
func TestStaticRefusals(t *testing.T) {
	s := newStack(t)
	right := map[string]string{
		"iqn": "iqn.2001-05.com.example:array", "portals": "10.99.0.1:3260,10.99.0.2", "lun": "7",
		"wwid": "naa.600140500112233445566778899aabbc", "interfaces": "san-a,san-b",
	}
	must(t, os.MkdirAll(s.Adopt(&csi.Volume{VolumeId: "static/legacy"}, nil).StagingPath, 0o750)) // as kubelet does
	before := world(s)
	for name, c := range map[string]struct {
		key, value string
		words      []string
	}{
		"no IQN":                   {"iqn", "", []string{"iqn", "missing"}},
		"IQN of another form":      {"iqn", "iqn.example:array", []string{`"iqn"`, "iqn.YYYY-MM"}},
		"IQN with a month 13":      {"iqn", "iqn.2001-13.com.example:x", []string{`"iqn"`}},
		"IQN with a slash":         {"iqn", "iqn.2001-05.com.example:../x", []string{`"iqn"`}},
		"IQN of 224 bytes":         {"iqn", "iqn.2001-05.com.example:" + strings.Repeat("a", 200), []string{`"iqn"`, "223"}},
		"portal by name":           {"portals", "storage.example.com", []string{`"portals"`, "IP address"}},
		"portal with port 0":       {"portals", "10.99.0.1:0", []string{`"portals"`}},
		"portal with port 65536":   {"portals", "10.99.0.1:65536", []string{`"portals"`}},
		"portal of all hosts":      {"portals", "0.0.0.0", []string{`"portals"`}},
		"portal of a group":        {"portals", "224.0.0.1", []string{`"portals"`}},
		"portal twice":             {"portals", "10.99.0.1,10.99.0.1:3260", []string{`"portals"`, "once"}},
		"portal without brackets":  {"portals", "2001:db8::1:3260:1:2:3:4:5", []string{`"portals"`}},
		"negative LUN":             {"lun", "-1", []string{`"lun"`, "0 to 65535"}},
		"LUN 65536":                {"lun", "65536", []string{`"lun"`, "0 to 65535"}},
		"no LUN":                   {"lun", "", []string{"lun"}},
		"WWID of multipathd":       {"wwid", "3600140500112233445566778899aabbcc", []string{`"wwid"`, "naa."}},
		"WWID with a path":         {"wwid", "t10.../../x", []string{`"wwid"`}},
		"interface with a slash":   {"interfaces", "../san-a", []string{`"interfaces"`}},
		"unknown interface":        {"interfaces", "san-a,san-z", []string{"san-z", "san-a", "san-b"}},
		"more minPaths than pairs": {"minPaths", "5", []string{"minPaths", "4"}},
		"unknown attribute":        {"chap", "yes", []string{"chap", "portals"}},
		"password as an attribute": {"node.session.auth.password", "hunter2hunter2", []string{"node.session.auth.password"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := s.Adopt(&csi.Volume{VolumeId: "static/legacy", VolumeContext: maps.Clone(right)}, labenv.MountExt4)
			v.VolumeContext[c.key] = c.value
			if c.value == "" {
				delete(v.VolumeContext, c.key)
			}
			err := v.Stage(within(t, 30*time.Second))
			refusal(t, err, codes.InvalidArgument, c.words...)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a value that may be a secret is in %v", err)
			}
		})
	}
	unchanged(t, s, before)
	s.Tidy()
}

// TestMorePathsThanPossible: with all interfaces of the node, only the node knows how many paths there can be.
func TestMorePathsThanPossible(t *testing.T) {
	s := newStack(t)
	v := s.Create("many", 64*mib, labenv.MountExt4, map[string]string{"minPaths": "9", "interfaces": ""})
	must(t, v.ControllerPublish(within(t, time.Minute)))
	must(t, os.MkdirAll(v.StagingPath, 0o750)) // as kubelet does
	before := world(s)
	refusal(t, v.Stage(within(t, 30*time.Second)), codes.InvalidArgument, "minPaths", "9", "4")
	unchanged(t, s, before)
	must(t, v.ControllerUnpublish(within(t, time.Minute)))
	must(t, v.Delete(within(t, time.Minute)))
	s.Tidy()
}

// TestSecretRefusals are Secrets that open-iscsi's records could not carry, or that prove nothing.
func TestSecretRefusals(t *testing.T) {
	s := newStack(t)
	const user, pass = "node.session.auth.username", "node.session.auth.password"
	v := s.Create("secrets", 64*mib, labenv.MountExt4, nil)
	must(t, v.ControllerPublish(within(t, time.Minute)))
	must(t, os.MkdirAll(v.StagingPath, 0o750)) // as kubelet does
	before := world(s)
	for name, c := range map[string]struct {
		secrets map[string]string
		words   []string
	}{
		"name alone":          {map[string]string{user: "u"}, []string{"secrets", user, pass, "both"}},
		"password alone":      {map[string]string{pass: "hunter2hunter2"}, []string{"secrets", "both"}},
		"newline":             {map[string]string{user: "u", pass: "hunter2\nnode.x = y"}, []string{pass, "printable"}},
		"NUL":                 {map[string]string{user: "u", pass: "hunter2\x00hunter2"}, []string{pass}},
		"10 KB":               {map[string]string{user: "u", pass: strings.Repeat("hunter2", 1500)}, []string{pass, "255"}},
		"unicode":             {map[string]string{user: "u", pass: "hunter2hünter2"}, []string{pass}},
		"name with a newline": {map[string]string{user: "u\nx", pass: "hunter2hunter2"}, []string{user}},
		"unknown key":         {map[string]string{"password": "hunter2hunter2"}, []string{"password", user}},
		"one secret for both": {
			map[string]string{user: "u", pass: "hunter2hunter2", user + "_in": "t", pass + "_in": "hunter2hunter2"},
			[]string{pass + "_in", "another"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v.Secrets = c.secrets
			defer func() { v.Secrets = nil }()
			for _, err := range []error{v.Stage(within(t, 30*time.Second)), controllerPublish(t, s, v)} {
				refusal(t, err, codes.InvalidArgument, c.words...)
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the secret is in %v", err)
				}
			}
		})
	}
	unchanged(t, s, before)
	must(t, v.ControllerUnpublish(within(t, time.Minute)))
	must(t, v.Delete(within(t, time.Minute)))
	s.Tidy()
}

// controllerPublish leaves the volume's publish context as it is.
func controllerPublish(t *testing.T, s *labenv.Stack, v *labenv.Volume) error {
	t.Helper()
	_, err := s.Controller.Controller.ControllerPublishVolume(within(t, 30*time.Second), &csi.ControllerPublishVolumeRequest{
		VolumeId: v.VolumeId, NodeId: s.NodeID, VolumeCapability: v.Cap, VolumeContext: v.VolumeContext, Secrets: v.Secrets,
	})
	return err
}
