// Package iscsiname parses what names iSCSI things: node names (IQN, EUI, NAA) and portals. These strings come from
// users and from targets and end in file names and record files of open-iscsi, so everything that the standards do
// not allow is refused (CVE-2026-44943 and its like). A leaf: it imports nothing of this project.
package iscsiname

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// MaxLength is the longest iSCSI name in bytes (RFC 7143, section 4.2.7.1).
const MaxLength = 223

// DefaultPort is where targets listen (RFC 7143, section 4.2.5).
const DefaultPort = 3260

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid")

// label is one part of a domain name.
const label = `[a-z0-9]([a-z0-9-]*[a-z0-9])?`

var (
	// iqnPattern: "iqn.", the month since when the naming authority owned its domain, the reversed domain, and
	// optionally a colon with any string of the allowed characters (RFC 7143, section 4.2.7.4).
	iqnPattern = regexp.MustCompile(`^iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.` + label + `(\.` + label + `)*(:[a-z0-9.:-]+)?$`)
	// euiPattern: 64 bits in hexadecimal (RFC 7143, section 4.2.7.5).
	euiPattern = regexp.MustCompile(`^eui\.[0-9a-f]{16}$`)
	// naaPattern: 64 or 128 bits (RFC 7143, section 4.2.7.6).
	naaPattern = regexp.MustCompile(`^naa\.([0-9a-f]{16}|[0-9a-f]{32})$`)
)

// Parse checks an iSCSI name and returns it in canonical form, lower case as nodes must compare it (RFC 3722). It
// wraps ErrInvalid and says what is allowed; the name is quoted and cut in the message, so it may be hostile.
func Parse(name string) (string, error) {
	if len(name) > MaxLength {
		return "", fmt.Errorf("%w iSCSI name %s: %d bytes, at most %d are allowed", ErrInvalid, quote(name), len(name), MaxLength)
	}
	canonical := lower(name)
	if iqnPattern.MatchString(canonical) || euiPattern.MatchString(canonical) || naaPattern.MatchString(canonical) {
		return canonical, nil
	}
	return "", fmt.Errorf("%w iSCSI name %s: want iqn.YYYY-MM.reversed.domain[:text of a-z 0-9 . : -], "+
		"eui. with 16 or naa. with 16 or 32 hexadecimal digits", ErrInvalid, quote(name))
}

// ParsePortal reads "address" or "address:port" of IPv4, "[address]:port" or "address" of IPv6; the port defaults to
// DefaultPort. Host names are refused: a bound session needs an address of a known subnet, and one name may stand for
// several portals. Scoped, unspecified and multicast addresses are refused; IPv4 in IPv6 becomes IPv4.
func ParsePortal(s string) (netip.AddrPort, error) {
	invalid := func(why string) error {
		return fmt.Errorf("%w portal %s: %s; want an IP address with an optional port, such as 192.0.2.1:3260 or [2001:db8::1]:3260",
			ErrInvalid, quote(s), why)
	}
	host, port, err := splitPort(s)
	if err != nil {
		return netip.AddrPort{}, invalid(err.Error())
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return netip.AddrPort{}, invalid("not an IP address")
	case addr.Zone() != "":
		return netip.AddrPort{}, invalid("a zone is not allowed")
	}
	addr = addr.Unmap()
	if addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.AddrPort{}, invalid("not the address of one host")
	}
	return netip.AddrPortFrom(addr, port), nil
}

// splitPort separates the port, DefaultPort when there is none.
func splitPort(s string) (host string, port uint16, err error) {
	rest, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		host, rest, ok := strings.Cut(rest, "]")
		if !ok || !strings.Contains(host, ":") {
			return "", 0, errors.New("bad brackets")
		}
		if rest == "" {
			return host, DefaultPort, nil
		}
		text, ok := strings.CutPrefix(rest, ":")
		if !ok {
			return "", 0, errors.New("bad brackets")
		}
		port, err := parsePort(text)
		return host, port, err
	}
	host, text, found := strings.Cut(s, ":")
	if !found || strings.Contains(text, ":") { // no port, or a bare IPv6 address
		return s, DefaultPort, nil
	}
	port, err = parsePort(text)
	return host, port, err
}

// parsePort takes plain decimal digits only: no sign, no leading zero.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("the port is not a number from 1 to 65535")
	}
	return uint16(n), nil
}

// lower changes ASCII letters only: other alphabets must not fold into ASCII (the Kelvin sign into k).
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// quote makes foreign text safe and short for a message.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
