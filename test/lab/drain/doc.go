//go:build lab

// Package drain shows on a real kernel that I/O leaves a storage interface in order, under verified writes: for maintenance, when
// the interface is no more in the configuration, and when its NIC has become another one.
package drain
