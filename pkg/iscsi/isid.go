package iscsi

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/portbind/portbind/pkg/hostexec"
)

// ISID tells the sessions of an initiator with a target apart (RFC 7143, section 11.12.5).
type ISID [6]byte

// ISIDOf is how iscsid makes one: open-iscsi's OUI, and the session's number as the qualifier (usr/initiator.c). See NumbersISIDs.
func ISIDOf(session int) ISID {
	return ISID{0x00, 0x02, 0x3d, byte(session >> 16), byte(session >> 8), byte(session)} //nolint:gosec // its 24 bits
}

// numbering is the first version of which it is known that ISIDOf holds.
var numbering = []int{2, 0, 874}

// NumberingVersion is the same for people.
const NumberingVersion = "2.0.874"

// NumbersISIDs says that the iscsid of a version makes ISIDs as ISIDOf does. It is false for what is no version.
func NumbersISIDs(version string) bool {
	version = strings.TrimPrefix(version, "6.") // Red Hat's epoch: 6.2.1.4-1
	var numbers []int
	for part := range strings.FieldsFuncSeq(version, func(r rune) bool { return r == '.' || r == '-' }) {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	return len(numbers) >= 2 && slices.Compare(numbers, numbering) >= 0
}

var versionForm = regexp.MustCompile(`(?m)^iscsid version (\S+)`)

// Version asks the installed iscsid for its version. ErrNotReady: there is none, or it does not say.
func (c *Client) Version(ctx context.Context) (string, error) {
	out, err := c.host.Run(ctx, nil, "iscsid", "--version")
	if err != nil {
		return "", fmt.Errorf("%w: iscsid does not say its version: %w; %s", ErrNotReady, err, hostexec.InstallHint("iscsiadm"))
	}
	found := versionForm.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("%w: iscsid does not say its version", ErrNotReady)
	}
	return string(found[1]), nil
}
