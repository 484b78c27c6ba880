package scsi

import "fmt"

// Parts of an answer (SPC-5, section 4.4 and annex F).
const (
	statusGood           = 0x00
	statusCheckCondition = 0x02

	fixedFormat      = 0x70 // and 0x71, deferred
	descriptorFormat = 0x72 // and 0x73

	keyUnitAttention  = 0x06
	keyIllegalRequest = 0x05
	// codeNotSupported is LOGICAL UNIT NOT SUPPORTED.
	codeNotSupported = 0x25
)

// sense is what a CHECK CONDITION says.
type sense struct {
	key, code, qualifier uint8
}

func parseSense(b []byte) (s sense, ok bool) {
	if len(b) == 0 {
		return sense{}, false
	}
	switch format := b[0] & 0x7e; {
	case format == fixedFormat && len(b) >= 14:
		return sense{b[2] & 0xf, b[12], b[13]}, true
	case format == descriptorFormat && len(b) >= 4:
		return sense{b[1] & 0xf, b[2], b[3]}, true
	}
	return sense{}, false
}

// judge turns the answer to TEST UNIT READY into an error.
func judge(status uint8, answer []byte) error {
	s, ok := parseSense(answer)
	switch {
	case status == statusGood:
		return nil
	case status != statusCheckCondition || !ok:
		return fmt.Errorf("TEST UNIT READY: SCSI status 0x%02x", status)
	case s.key == keyUnitAttention:
		return nil
	case s.key == keyIllegalRequest && s.code == codeNotSupported:
		return ErrGone
	}
	return fmt.Errorf("TEST UNIT READY: sense %02x/%02x/%02x", s.key, s.code, s.qualifier)
}
