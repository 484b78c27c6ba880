package clusterenv

import (
	"fmt"
	"strings"
)

// Claim is a PersistentVolumeClaim of the class that the chart made for the lab.
type Claim struct {
	Name  string
	Class string // default: portbind
	Size  string // default: 1Gi
	Mode  string // of access; default: ReadWriteOnce
	Block bool
	From  string // a snapshot to begin with; default: nothing
}

// Manifest is the claim as YAML.
func (c Claim) Manifest() string {
	volumeMode, source := "Filesystem", ""
	if c.Block {
		volumeMode = "Block"
	}
	if c.From != "" {
		source = fmt.Sprintf("dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: %s}", c.From)
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
`, c.Name, or(c.Class, "portbind"), or(c.Mode, "ReadWriteOnce"), volumeMode, or(c.Size, "1Gi"), source)
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
}

// Manifest is the pod as YAML.
func (p Pod) Manifest() string {
	node, volume, mount := "", "", ""
	if p.Node != "" {
		node = fmt.Sprintf("nodeSelector: {kubernetes.io/hostname: %s}", p.Node)
	}
	if p.Claim != "" {
		volume = fmt.Sprintf("volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]", p.Claim)
		mount = "volumeMounts: [{name: data, mountPath: /data}]"
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
  containers:
    - name: main
      image: busybox:lab
      imagePullPolicy: Never
      command: [/bin/sh, -ec]
      args:
        - |
%s
      %s
`, p.Name, node, volume, indent(or(p.Script, "exec sleep infinity")), mount)
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
