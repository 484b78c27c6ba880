// Package cutoff has the scenario of a node that is cut off from everything under a writing pod, and comes back.
package cutoff
