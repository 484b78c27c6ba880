// Package multipath makes and keeps dm-multipath maps. State is read from the kernel (device-mapper's ioctls),
// policy and path checking stay with multipathd, which is spoken to through its socket. No program is started.
//
// A map is created by ourselves, right after the scan, and multipathd is told to adopt it: waiting until udev has
// handled every path before multipathd may create the map costs most of an attach (docs/design.md). What makes this
// sound:
//
//   - the map is named and numbered as multipathd would (uuid "mpath-<id>"), so whoever comes second is refused by the
//     kernel and takes the other's map;
//   - it is held open from before its first table is live until multipathd has adopted it. multipathd, when its own
//     create loses that race, removes "its" failed map by name unless it is open (libmultipath, dm_addmap_create);
//   - its identity is the uuid, never the name dm-N: minors are reused.
package multipath
