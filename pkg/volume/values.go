package volume

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
)

const (
	// MaxMinPaths bounds minPaths: 8 interfaces by 8 portals.
	MaxMinPaths = 64
	// MaxLUN is the largest logical unit number of the kernel's two-byte forms (peripheral and flat addressing,
	// SAM-5 section 4.7).
	MaxLUN = 65535

	maxInterfaces    = 16
	maxInterfaceName = 32
	maxPortals       = 32

	interfaceRule = "1 to 32 characters a-z, 0-9 and '-', the first and last a letter or digit"
)

// FSTypes are the file systems that volumes can carry; the first is the default.
var fsTypes = []string{"ext4", "xfs", "btrfs"}

// DefaultFSType is the file system when nobody names one.
const DefaultFSType = "ext4"

func parseInterfaces(field, s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	names := strings.Split(s, ",")
	if len(names) > maxInterfaces {
		return nil, NewFieldError(field, s, fmt.Sprintf("at most %d interfaces", maxInterfaces))
	}
	for i, n := range names {
		if !validInterface(n) {
			return nil, NewFieldError(field, n, "interface names separated by commas, each "+interfaceRule)
		}
		if slices.Contains(names[:i], n) {
			return nil, NewFieldError(field, n, "each interface once")
		}
	}
	return names, nil
}

func validInterface(s string) bool {
	return validName(s, maxInterfaceName) && !strings.Contains(s, ".")
}

func parsePairing(field, s string) (binding.Pairing, error) {
	switch p := binding.Pairing(s); p {
	case "":
		return binding.PairingAuto, nil
	case binding.PairingAuto, binding.PairingMesh, binding.PairingFabric:
		return p, nil
	default:
		return "", NewFieldError(field, s, "auto, mesh, fabric")
	}
}

func parseMinPaths(field, s string) (int, error) {
	if s == "" {
		return 1, nil
	}
	return parseInt(field, s, 1, MaxMinPaths)
}

// parseInt takes plain decimal digits only: no sign, no space, no leading zero.
func parseInt(field, s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most || strconv.Itoa(n) != s {
		return 0, NewFieldError(field, s, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n, nil
}

func parseFSType(field, s string) (string, error) {
	if s == "" || slices.Contains(fsTypes, s) {
		return s, nil
	}
	return "", NewFieldError(field, s, strings.Join(fsTypes, ", "))
}

func parsePortals(field, s string) ([]netip.AddrPort, error) {
	parts := strings.Split(s, ",")
	if len(parts) > maxPortals {
		return nil, NewFieldError(field, s, fmt.Sprintf("at most %d portals", maxPortals))
	}
	portals := make([]netip.AddrPort, 0, len(parts))
	for _, p := range parts {
		ap, err := parsePortal(field, p)
		if err != nil {
			return nil, err
		}
		if slices.Contains(portals, ap) {
			return nil, NewFieldError(field, p, "each portal once")
		}
		portals = append(portals, ap)
	}
	return portals, nil
}

func joinPortals(portals []netip.AddrPort) string {
	parts := make([]string, len(portals))
	for i, p := range portals {
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

// parseWWID takes what the kernel prints in a disk's device/wwid (scsi_vpd_lun_id), hex digits in either case.
func parseWWID(field, s string) (string, error) {
	kind, rest, _ := strings.Cut(s, ".")
	switch {
	case kind == "naa" && isHex(rest, 16, 32), kind == "eui" && isHex(rest, 16, 24, 32):
		return strings.ToLower(s), nil
	case kind == "t10" && isT10(rest):
		return s, nil
	}
	return "", NewFieldError(field, s, "as the kernel prints it: naa. and 16 or 32 hex digits, eui. and 16, 24 or 32, or t10. and text")
}

func isHex(s string, lengths ...int) bool {
	if !slices.Contains(lengths, len(s)) {
		return false
	}
	return strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// isT10 holds a T10 vendor id: printable ASCII, never a path.
func isT10(s string) bool {
	if s == "" || len(s) > 120 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '/' })
}
