package sysfs

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// ISID reads the initiator's part of a session's identity. It is zero where the kernel does not know it: for sessions that iscsid has
// logged in, as of Linux 6.1.
func (f FS) ISID(session int) (isid [6]byte, err error) {
	name := "session" + strconv.Itoa(session)
	r := reader{fs: f, dir: "class/iscsi_session/" + name}
	text := r.optional("isid")
	if text == "" {
		return isid, nil
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(isid) {
		return isid, &Error{Op: "read", Path: f.path(r.dir, "isid"), Err: fmt.Errorf("%w: %q is no ISID", ErrFormat, text)}
	}
	return [6]byte(raw), nil
}
