//go:build lab

// Package doctor holds the scenarios about what a node says of itself: `portbind-csi doctor` on a node that is well and on
// nodes with the mistakes that people make, and the views.
package doctor
