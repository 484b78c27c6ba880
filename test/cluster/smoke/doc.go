// Package smoke has the first scenarios of the cluster in the lab: that volumes are made, used, moved and removed, and that pods do
// not notice the loss of a NIC.
package smoke
