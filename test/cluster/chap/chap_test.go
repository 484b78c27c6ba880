//go:build cluster

package chap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const (
	user, secret             = "lab-node", "secret-of-the-node"     //nolint:gosec // of a lab
	targetUser, targetSecret = "lab-target", "secret-of-the-target" //nolint:gosec // of a lab
)

// A volume needs a Secret where it is published, which the target learns, and where it is staged. Each mistake in them is told on the
// pod, which starts by itself when the last one is mended. Then initiator and target prove themselves to each other.
func TestSecrets(t *testing.T) {
	var publish chapSecret
	// After everything else: the attacher wants it for detaching too.
	t.Cleanup(func() {
		if publish.e != nil {
			_, _ = publish.e.Try("delete", "secret", publish.name, "-n", publish.namespace, "--ignore-not-found")
		}
	})
	e := clusterenv.New(t) // the credentials of a node hold for all of its volumes on a target
	publish = chapSecret{e, "lab-chap", "portbind"}
	stage := chapSecret{e, "stage", e.Namespace}
	class := e.Class("class", clusterenv.Class{Parameters: map[string]string{
		"interfaces": "san-a,san-b",
		"csi.storage.k8s.io/controller-publish-secret-name": publish.name, "csi.storage.k8s.io/controller-publish-secret-namespace": publish.namespace,
		"csi.storage.k8s.io/node-stage-secret-name": stage.name, "csi.storage.k8s.io/node-stage-secret-namespace": stage.namespace,
	}})
	e.Apply(clusterenv.Claim{Name: "data", Class: class}.Manifest(), clusterenv.Pod{Name: "pod", Node: "node1", Claim: "data"}.Manifest())
	e.Told("pod/pod", "FailedAttachVolume", `secrets "lab-chap" not found`)
	publish.write("node.session.auth.username", user)
	e.Told("pod/pod", "FailedAttachVolume", "InvalidArgument",
		"node.session.auth.username and node.session.auth.password, both or neither")
	publish.write("node.session.auth.username", user, "node.session.auth.passwort", secret)
	told := e.Told("pod/pod", "FailedAttachVolume", `secrets: unknown key "node.session.auth.passwort" is refused; allowed: `)
	publish.mutual(secret)
	stage.mutual("another-" + secret)
	told += e.Told("pod/pod", "FailedMount", "authentication failed")
	stage.mutual(secret)
	e.Ready("pod")

	node := e.Node("node1")
	const names = "cat /sys/class/iscsi_session/session*/username; cat /sys/class/iscsi_session/session*/username_in"
	if got, want := strings.Fields(node.Run("sh", "-c", names)), strings.Fields(strings.Repeat(user+" ", 4)+strings.Repeat(targetUser+" ", 4)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the sessions are of %v, not of %v", got, want)
	}
	logs := e.Kubectl("logs", "-n", "portbind", "--tail=-1", "-l", "app.kubernetes.io/name=portbind-csi", "--all-containers")
	for where, text := range map[string]string{"events": told, "logs": logs} {
		if strings.Contains(text, secret) || strings.Contains(text, targetSecret) {
			t.Errorf("a secret is in the %s", where)
		}
	}
	if len(logs) < 1000 {
		t.Errorf("of the driver's logs there are %d bytes only", len(logs))
	}
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")
}

// chapSecret is one of the class's.
type chapSecret struct {
	e               *clusterenv.Env
	name, namespace string
}

func (s chapSecret) mutual(password string) {
	s.e.T.Helper()
	s.write("node.session.auth.username", user, "node.session.auth.password", password,
		"node.session.auth.username_in", targetUser, "node.session.auth.password_in", targetSecret)
}

// write makes the Secret anew, with these keys and values and no others.
func (s chapSecret) write(keysAndValues ...string) {
	s.e.T.Helper()
	args := []string{"create", "secret", "generic", s.name, "-n", s.namespace, "--type=kubernetes.io/iscsi-chap"}
	for i := 0; i < len(keysAndValues); i += 2 {
		args = append(args, "--from-literal="+keysAndValues[i]+"="+keysAndValues[i+1])
	}
	s.e.Kubectl("delete", "secret", s.name, "-n", s.namespace, "--ignore-not-found")
	s.e.Kubectl(args...)
}
