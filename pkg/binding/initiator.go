package binding

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

// initiatorPrefix is the naming authority of our initiator names.
const initiatorPrefix = "iqn.2026-11.io.portbind:"

// ErrInitiator is wrapped by errors about the initiator's name.
var ErrInitiator = errors.New("no usable initiator name")

// Initiator derives this node's initiator name from its Kubernetes name, the same one each time. Different node names
// give different initiators: what the standard does not allow in a name, or has no room for, becomes a hash.
func Initiator(node string) (string, error) {
	if node == "" {
		return "", fmt.Errorf("%w: the node's name is empty", ErrInitiator)
	}
	name, err := iscsiname.Parse(initiatorPrefix + node)
	if err == nil && name == initiatorPrefix+node && !strings.Contains(node, ":") {
		return name, nil
	}
	return iscsiname.Parse(initiatorPrefix + hashed(node))
}

// hashed keeps a readable part of the name before 128 bits of its hash. The second colon, which no
// node name contains, keeps it apart from names that need no hash.
func hashed(node string) string {
	const readable = 100
	sum := sha256.Sum256([]byte(node))
	kept := strings.Map(func(r rune) rune {
		if ('a' <= r && r <= 'z') || ('0' <= r && r <= '9') || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(node[:min(readable, len(node))]))
	return kept + ":" + hex.EncodeToString(sum[:16])
}

// ParseHostInitiator reads the InitiatorName of /etc/iscsi/initiatorname.iscsi.
func ParseHostInitiator(data []byte) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		// iscsid wants the key at the very beginning of a line and takes the first one.
		value, ok := strings.CutPrefix(lines.Text(), "InitiatorName=")
		if !ok {
			continue
		}
		name, err := iscsiname.Parse(strings.TrimSpace(value))
		if err != nil {
			return "", fmt.Errorf("%w: initiatorname.iscsi: %w", ErrInitiator, err)
		}
		return name, nil
	}
	return "", fmt.Errorf("%w: initiatorname.iscsi has no line InitiatorName=", ErrInitiator)
}
