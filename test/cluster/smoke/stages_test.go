//go:build cluster

package smoke

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const (
	driver  = "iscsi.portbind.io"
	kubelet = "/var/lib/kubelet/plugins"
)

// Row 15 of the scorecard, on the cluster: a volume is attached, and its node plugin gets ten identical calls to stage it, and kubelet, for a
// pod, makes its own after or beside them. They have one effect, and the pod runs.
func TestTenStagesAtOnce(t *testing.T) {
	e := clusterenv.New(t)
	node := e.Node("node1")
	e.Apply(clusterenv.Claim{Name: "data", Class: "portbind-immediate"}.Manifest())
	e.Kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "persistentvolumeclaim/data", "--timeout="+clusterenv.Limit.String())
	request := attached(e, node.Name, e.Kubectl("get", "persistentvolumeclaim/data", "--output", "jsonpath={.spec.volumeName}"))
	node.Run("mkdir", "-p", request.StagingTargetPath)

	plugin := nodePlugin(e, node)
	ctx, cancel := context.WithTimeout(t.Context(), clusterenv.Limit)
	defer cancel()
	outcomes := make(chan error, 10)
	for range cap(outcomes) {
		go func() {
			_, err := plugin.NodeStageVolume(ctx, request)
			outcomes <- err
		}()
	}
	e.Apply(clusterenv.Pod{Name: "pod", Node: node.Name, Claim: "data"}.Manifest())
	ok := 0
	for range cap(outcomes) {
		switch err := <-outcomes; status.Code(err) {
		case codes.OK:
			ok++
		case codes.Aborted:
		default:
			t.Error(err)
		}
	}
	t.Logf("%d succeeded, %d were told ABORTED", ok, cap(outcomes)-ok)
	if ok == 0 {
		t.Error("none succeeded")
	}
	e.Ready("pod")
	if staged := strings.Count(node.Run("cat", "/proc/mounts"), request.StagingTargetPath+" "); staged != 1 {
		t.Errorf("%d mounts at the staging path", staged)
	}
	wantPaths(t, node, 4)
	e.Sh("pod", "echo kept > /data/file; sync")
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")
}

// attached makes the VolumeAttachment that a pod on the node would need, waits until the volume is attached, and returns kubelet's request
// to stage it there.
func attached(e *clusterenv.Env, node, pv string) *csi.NodeStageVolumeRequest {
	e.T.Helper()
	var volume struct {
		Spec struct {
			CSI struct {
				VolumeHandle     string
				VolumeAttributes map[string]string
			}
		}
	}
	decode(e, &volume, "persistentvolume/"+pv)
	handle := volume.Spec.CSI.VolumeHandle
	// The name is the one that Kubernetes gives it (pkg/volume/csi, getAttachmentName): the pod's is this one.
	name := fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
	e.Apply(fmt.Sprintf(`apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: %s}
spec: {attacher: %s, nodeName: %s, source: {persistentVolumeName: %s}}
`, name, driver, node, pv))
	e.Kubectl("wait", "--for=jsonpath={.status.attached}=true", "volumeattachment/"+name, "--timeout="+clusterenv.Limit.String())
	var attachment struct {
		Status struct{ AttachmentMetadata map[string]string }
	}
	decode(e, &attachment, "volumeattachment/"+name)
	return &csi.NodeStageVolumeRequest{
		VolumeId: handle, VolumeContext: volume.Spec.CSI.VolumeAttributes, PublishContext: attachment.Status.AttachmentMetadata,
		StagingTargetPath: fmt.Sprintf("%s/kubernetes.io/csi/%s/%x/globalmount", kubelet, driver, sha256.Sum256([]byte(handle))),
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
		},
	}
}

func decode(e *clusterenv.Env, into any, object string) {
	e.T.Helper()
	if err := json.Unmarshal([]byte(e.Kubectl("get", object, "--output", "json")), into); err != nil {
		e.T.Fatalf("%s: %v", object, err)
	}
}

// nodePlugin speaks CSI with the plugin on the node, through the socket that kubelet uses.
func nodePlugin(e *clusterenv.Env, node *clusterenv.Machine) csi.NodeClient {
	e.T.Helper()
	socket := kubelet + "/" + driver + "/csi.sock"
	conn, err := grpc.NewClient("passthrough:///"+node.Name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return node.Dial(ctx, "unix", socket) }))
	if err != nil {
		e.T.Fatal(err)
	}
	e.T.Cleanup(func() { _ = conn.Close() })
	return csi.NewNodeClient(conn)
}
