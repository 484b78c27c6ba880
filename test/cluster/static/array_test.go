//go:build cluster

package static

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const (
	portals = "10.99.0.10:3260,10.99.0.11:3260"
	user    = "reader"
	secret  = "a-secret-of-the-array" //nolint:gosec // of a lab
)

// array is an array of somebody else's on the target machine: one LUN, 7, that asks for CHAP.
type array struct {
	e         *clusterenv.Env
	iqn, wwid string
}

// newArray makes one, which goes at the end with the pods that use it.
func newArray(e *clusterenv.Env, number int) *array {
	e.T.Helper()
	serial := fmt.Sprintf("%025x", 0xa0000+number)
	a := &array{e: e, iqn: fmt.Sprintf("iqn.2001-05.com.example:array%d", number), wwid: "naa.6001405" + serial}
	e.T.Cleanup(a.retire)
	e.Target.Run("sh", "-ec", fmt.Sprintf(`
		cd /sys/kernel/config/target
		truncate -s 128M /tmp/array%[1]d
		mkdir -p core/fileio_7%[1]d/lun
		echo fd_dev_name=/tmp/array%[1]d,fd_dev_size=134217728 > core/fileio_7%[1]d/lun/control
		echo %[2]s > core/fileio_7%[1]d/lun/wwn/vpd_unit_serial
		echo 1 > core/fileio_7%[1]d/lun/enable
		t=iscsi/%[3]s/tpgt_1
		mkdir -p $t $t/lun/lun_7
		ln -s $PWD/core/fileio_7%[1]d/lun $t/lun/lun_7/lun
		for p in 10.99.0.10:3260 10.99.0.11:3260; do mkdir $t/np/$p; done
		echo 1 > $t/attrib/generate_node_acls
		echo 0 > $t/attrib/demo_mode_write_protect
		echo 1 > $t/attrib/authentication
		printf %%s %[4]s > $t/auth/userid
		printf %%s %[5]s > $t/auth/password
		echo 1 > $t/enable`, number, serial, a.iqn, user, secret))
	return a
}

// retire waits for the last session to end before the array goes.
func (a *array) retire() {
	_, _ = a.e.Try("delete", "pods,persistentvolumeclaims", "--all", "--timeout="+clusterenv.Limit.String())
	tpg := "/sys/kernel/config/target/iscsi/" + a.iqn + "/tpgt_1"
	a.e.Eventually(clusterenv.Limit, "no sessions with the array", func() bool {
		out, err := a.e.Target.Try("cat", tpg+"/dynamic_sessions")
		return err == nil && strings.Trim(out, "\x00\n ") == ""
	})
	number := strings.TrimPrefix(a.iqn, "iqn.2001-05.com.example:array")
	if out, err := a.e.Target.Try("sh", "-ec", fmt.Sprintf(`
		cd /sys/kernel/config/target
		t=%[2]s
		echo 0 > $t/enable
		rm $t/lun/lun_7/lun
		rmdir $t/lun/lun_7 $t/np/* $t ${t%%/*} core/fileio_7%[1]s/lun core/fileio_7%[1]s
		rm /tmp/array%[1]s`, number, tpg)); err != nil {
		a.e.T.Errorf("cleanup of the array: %v: %s", err, out)
	}
	a.forget()
}

// forget removes what open-iscsi knows on the nodes of an array that never let them in: it stays, says docs/limits.md.
func (a *array) forget() {
	for _, node := range a.e.Nodes {
		if out, err := node.Try("sh", "-ec", "rm -rf /etc/iscsi/nodes/"+a.iqn+
			"; find /etc/iscsi/nodes -name 'pb-*' | grep -q . || rm -f /etc/iscsi/ifaces/pb-*"); err != nil {
			a.e.T.Errorf("cleanup on %s: %v: %s", node.Name, err, out)
		}
	}
}

// attributes are those of the array's LUN, with changes.
func (a *array) attributes(changes map[string]string) map[string]string {
	all := map[string]string{"iqn": a.iqn, "portals": portals, "lun": "7", "wwid": a.wwid, "interfaces": "san-a,san-b"}
	maps.Copy(all, changes)
	return all
}

// volume makes a PersistentVolume as an administrator writes it, with a claim and a pod of its name that use it.
func (a *array) volume(name string, attributes map[string]string) {
	a.e.T.Helper()
	pv := a.e.Namespace + "-" + name
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]string{"name": pv},
		"spec": map[string]any{
			"capacity": map[string]string{"storage": "128Mi"}, "accessModes": []string{"ReadWriteOnce"},
			"persistentVolumeReclaimPolicy": "Retain",
			"csi": map[string]any{
				"driver": "iscsi.portbind.io", "volumeHandle": "static/" + pv, "fsType": "ext4", "volumeAttributes": attributes,
				"nodeStageSecretRef": map[string]string{"name": "chap", "namespace": a.e.Namespace},
			},
		},
	})
	if err != nil {
		a.e.T.Fatal(err)
	}
	a.e.T.Cleanup(func() { _, _ = a.e.Try("delete", "persistentvolume", pv, "--wait=false", "--ignore-not-found") })
	a.e.Apply(string(manifest), clusterenv.Claim{Name: name, PV: pv, Size: "128Mi"}.Manifest(),
		clusterenv.Pod{Name: name, Claim: name}.Manifest())
}

// chap makes or changes the Secret of the volumes.
func (a *array) chap(password string) {
	a.e.T.Helper()
	a.e.Apply(fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: chap}
type: kubernetes.io/iscsi-chap
stringData: {node.session.auth.username: %s, node.session.auth.password: %s}
`, user, password))
}

// A LUN that was there before is used by a pod, and has its data for the next one.
func TestExisting(t *testing.T) {
	e := clusterenv.Shared(t)
	a := newArray(e, 1)
	a.chap(secret)
	a.volume("data", a.attributes(nil))
	e.Ready("data")
	e.Sh("data", "echo hello > /data/file; sync")
	e.Delete("pod/data")
	e.Apply(clusterenv.Pod{Name: "second", Claim: "data"}.Manifest())
	e.Ready("second")
	if got := e.Sh("second", "cat /data/file"); got != "hello" {
		t.Errorf("the second pod reads %q", got)
	}
	e.Delete("pod/second")
	e.Delete("persistentvolumeclaim/data")
}
