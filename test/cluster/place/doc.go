// Package place has where volumes and pods go: not to full pools, and not to nodes without their interfaces.
package place
