//go:build lab

// Package node holds the scenarios of the node plugin on a real kernel: file systems on plain devices, and the whole
// life of volumes over bound sessions.
package node
