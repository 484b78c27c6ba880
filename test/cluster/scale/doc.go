// Package scale has the scenario of many volumes that are made, used and removed in waves, with the time of each phase from a claim to
// a running pod.
package scale
