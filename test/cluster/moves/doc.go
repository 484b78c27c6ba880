// Package moves has the scenarios of pods that go from node to node with their volumes: many times, and by draining a node.
package moves
