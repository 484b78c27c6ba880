//go:build lab

// Package interfaces holds the scenarios about a node's storage interfaces: which NIC each one is, what state it is
// in, and what the plugin sets in the kernel for it.
package interfaces
