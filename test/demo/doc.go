// Package demo shows the main job on a real kernel, for a person who watches: make demo-node.
package demo
