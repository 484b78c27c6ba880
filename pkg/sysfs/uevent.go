package sysfs

import "bytes"

// relevantSubsystems are those whose events may end a wait of ours.
var relevantSubsystems = [][]byte{
	[]byte("block"), []byte("scsi"), []byte("scsi_device"), []byte("scsi_disk"), []byte("scsi_host"),
	[]byte("iscsi_session"), []byte("iscsi_connection"), []byte("iscsi_host"),
}

// relevant says whether a kernel uevent ("add@/devices/...", NUL, then KEY=value each ended by NUL) is of a subsystem
// that this package reads. What cannot be understood is relevant: an extra look costs little.
func relevant(message []byte) bool {
	for field := range bytes.SplitSeq(message, []byte{0}) {
		subsystem, ok := bytes.CutPrefix(field, []byte("SUBSYSTEM="))
		if !ok {
			continue
		}
		for _, s := range relevantSubsystems {
			if bytes.Equal(s, subsystem) {
				return true
			}
		}
		return false
	}
	return true
}
