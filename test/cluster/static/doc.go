// Package static has LUNs that exist without the driver, used through PersistentVolumes written by hand, and mistakes in those.
package static
