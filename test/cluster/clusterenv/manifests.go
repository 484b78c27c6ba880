package clusterenv

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Claim is a PersistentVolumeClaim of the class that the chart made for the lab.
type Claim struct {
	Name  string
	Class string // default: portbind
	Size  string // default: 1Gi
	Mode  string // of access; default: ReadWriteOnce
	PV    string // the volume to be bound to, without a class; default: a new one
	Block bool
	From  string // a snapshot to begin with; default: nothing
	// Attributes is a VolumeAttributesClass; default: none.
	Attributes string
}

// Manifest is the claim as YAML.
func (c Claim) Manifest() string {
	volumeMode, source, attributes := "Filesystem", "", ""
	if c.Attributes != "" {
		attributes = "volumeAttributesClassName: " + c.Attributes
	}
	if c.Block {
		volumeMode = "Block"
	}
	if c.From != "" {
		source = fmt.Sprintf("dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: %s}", c.From)
	}
	class := or(c.Class, "portbind")
	if c.PV != "" {
		class, source = `""`, "volumeName: "+c.PV
	}
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  storageClassName: %s
  accessModes: [%s]
  volumeMode: %s
  resources: {requests: {storage: %s}}
  %s
  %s
`, c.Name, class, or(c.Mode, "ReadWriteOnce"), volumeMode, or(c.Size, "1Gi"), source, attributes)
}

// Class is a StorageClass of the driver. Its name is one for the whole cluster: Env.Class makes it.
type Class struct {
	Parameters map[string]string
	Immediate  bool
	Options    []string // of mounting
}

// Manifest is the class as YAML, which JSON is.
func (c Class) Manifest(name string) string {
	mode := "WaitForFirstConsumer"
	if c.Immediate {
		mode = "Immediate"
	}
	out, err := json.Marshal(map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": map[string]string{"name": name},
		"provisioner": "iscsi.portbind.io", "parameters": c.Parameters, "mountOptions": c.Options, "volumeBindingMode": mode,
		"allowVolumeExpansion": true, "reclaimPolicy": "Delete",
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(out)
}

// Class makes a StorageClass for the test and returns its name.
func (e *Env) Class(name string, c Class) string {
	e.T.Helper()
	name = e.Namespace + "-" + name
	e.Apply(c.Manifest(name))
	e.T.Cleanup(func() { _, _ = e.Try("delete", "storageclass", name, "--ignore-not-found") })
	return name
}

// Snapshot is a VolumeSnapshot of a claim as YAML.
func Snapshot(name, claim string) string {
	return fmt.Sprintf(`apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: %s}
spec: {source: {persistentVolumeClaimName: %s}}
`, name, claim)
}

// Pod is a pod with a shell in it. The claim is a file system at /data, or the block device /dev/data.
type Pod struct {
	Name   string
	Node   string // default: any
	Claim  string
	Block  bool
	Script string // what it runs; default: nothing, until it is deleted
	// More, as entries of YAML's flow style: of the pod's spec, of the volume's mount; and the volume's source in place of a claim.
	Spec, Mount, Source string
}

// Manifest is the pod as YAML.
func (p Pod) Manifest() string {
	node, volume, mount := "", "", ""
	source := or(p.Source, fmt.Sprintf("persistentVolumeClaim: {claimName: %s}", p.Claim))
	if p.Node != "" {
		node = fmt.Sprintf("nodeSelector: {kubernetes.io/hostname: %s}", p.Node)
	}
	if p.Claim != "" || p.Source != "" {
		volume = fmt.Sprintf("volumes: [{name: data, %s}]", source)
		mount = fmt.Sprintf("volumeMounts: [{name: data, mountPath: /data, %s}]", p.Mount)
		if p.Block {
			mount = "volumeDevices: [{name: data, devicePath: /dev/data}]"
		}
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  %s
  %s
  %s
  containers:
    - name: main
      image: busybox:lab
      imagePullPolicy: Never
      command: [/bin/sh, -ec]
      args:
        - |
%s
      %s
`, p.Name, p.Spec, node, volume, indent(or(p.Script, "exec sleep infinity")), mount)
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func indent(script string) string {
	return "          " + strings.ReplaceAll(strings.TrimSpace(script), "\n", "\n          ")
}
