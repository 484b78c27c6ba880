// Package workloads has what pods do with volumes: StatefulSets, ephemeral volumes, file systems and who owns them, parts of volumes,
// and when volumes are made.
package workloads
