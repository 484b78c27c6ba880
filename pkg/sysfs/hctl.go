package sysfs

import (
	"fmt"
	"strconv"
	"strings"
)

// HCTL is a SCSI address. LUN is the number that Linux made of the 8 bytes on the wire (scsilun_to_int).
type HCTL struct {
	Host, Channel, Target int
	LUN                   uint64
}

// String is "2:0:0:1", the name in /sys/class/scsi_device.
func (a HCTL) String() string { return fmt.Sprintf("%d:%d:%d:%d", a.Host, a.Channel, a.Target, a.LUN) }

// ParseHCTL reads what String gives. The error wraps ErrFormat.
func ParseHCTL(s string) (HCTL, error) {
	bad := fmt.Errorf("%w: %q is no SCSI address", ErrFormat, s)
	parts := strings.Split(s, ":")
	if len(parts) != 4 {
		return HCTL{}, bad
	}
	var n [3]int
	for i := range n {
		v, ok := number(parts[i], "")
		if !ok {
			return HCTL{}, bad
		}
		n[i] = v
	}
	lun, err := strconv.ParseUint(parts[3], 10, 64)
	if err != nil || parts[3][0] == '+' {
		return HCTL{}, bad
	}
	return HCTL{n[0], n[1], n[2], lun}, nil
}

// flatSpace is the address method bit of SAM-5's flat space addressing as Linux shows it in a LUN number.
const flatSpace = 0x4000

// KernelLUNs gives the numbers under which Linux may know logical unit lun, the likely one first. Up to 255 there is
// one. Above, Linux sends a number as it is (int_to_scsilun), which LIO understands; arrays that follow SAM-5 section
// 4.7.7 want the flat space method for 256 to 16383, and Linux then shows 16384 more.
func KernelLUNs(lun int) []uint64 {
	if lun < 0 {
		return nil
	}
	n := uint64(lun)
	if n < 256 || n >= flatSpace {
		return []uint64{n}
	}
	return []uint64{n, n | flatSpace}
}
