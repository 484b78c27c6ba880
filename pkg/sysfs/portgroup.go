package sysfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Parts of INQUIRY data and of VPD page 0x83 (SPC-4, sections 6.6.2, 7.8.6 and 7.8.6.7).
const (
	inquiryALUA   = 5    // the byte with TPGS
	maskALUA      = 0x30 // 0: no asymmetric access
	vpdHeader     = 4
	designatorTop = 4
	kindMask      = 0x3f
	kindPortGroup = 0x15 // of a target port; target port group
)

// PortGroup gives the number of the target port group that a disk's path leads to, as the kernel read it when it found the
// disk. It is false where the target says nothing of asymmetric access: all its paths are alike. ErrGone when there is no disk.
func (f FS) PortGroup(disk string) (group int, asymmetric bool, err error) {
	path := f.path("block", disk, "device", "inquiry")
	inquiry, err := os.ReadFile(path)
	if err != nil || len(inquiry) <= inquiryALUA || inquiry[inquiryALUA]&maskALUA == 0 {
		return 0, false, fail("read", path, err)
	}
	path = f.path("block", disk, "device", "vpd_pg83")
	page, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fail("read", path, err)
	}
	group, ok := portGroup(page)
	if !ok {
		return 0, false, &Error{Op: "read", Path: path, Err: fmt.Errorf("%w: no target port group", ErrFormat)}
	}
	return group, true, nil
}

// portGroup looks for the designator in a VPD page 0x83.
func portGroup(page []byte) (group int, ok bool) {
	for rest := page[min(vpdHeader, len(page)):]; len(rest) >= designatorTop; {
		length := int(rest[3])
		if len(rest) < designatorTop+length {
			break
		}
		if rest[1]&kindMask == kindPortGroup && length == 4 {
			return int(binary.BigEndian.Uint16(rest[designatorTop+2:])), true
		}
		rest = rest[designatorTop+length:]
	}
	return 0, false
}
