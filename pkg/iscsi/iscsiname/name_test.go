package iscsiname

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	longest := "iqn.2026-11.io.portbind:" + strings.Repeat("a", MaxLength-24)
	good := map[string]string{
		"iqn.2026-11.io.portbind:node-1":            "iqn.2026-11.io.portbind:node-1",
		"iqn.2026-11.io.portbind":                   "iqn.2026-11.io.portbind",
		"IQN.2001-04.COM.Example:Storage.Disk2:A-b": "iqn.2001-04.com.example:storage.disk2:a-b",
		"iqn.1994-05.com.redhat:abc..def":           "iqn.1994-05.com.redhat:abc..def",
		"eui.02004567A425678D":                      "eui.02004567a425678d",
		"naa.52004567BA64678D":                      "naa.52004567ba64678d",
		"naa.62004567BA64678D0123456789ABCDEF":      "naa.62004567ba64678d0123456789abcdef",
		longest:                                     longest,
	}
	for name, want := range good {
		if got, err := Parse(name); err != nil || got != want {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	bad := []string{
		"", "iqn", "iqn.", "iqn.2026-11", "iqn.2026-11.", "iqn.2026-13.io.x:a", "iqn.26-11.io.x:a", "iqn.2026-11.io.x:",
		"iqn.2026-11.io..x:a", "iqn.2026-11.-io.x:a", "iqn.2026-11.io.x-:a",
		"iqn.2026-11.io.x:../../etc/passwd", "iqn.2026-11.io.x:a\nnode.startup = automatic", "iqn.2026-11.io.x:a\r",
		"iqn.2026-11.io.x:a\x00b", "-iqn.2026-11.io.x:a", "--login", "../iqn.2026-11.io.x:a", "..", ".", "/",
		"iqn.2026-11.io.x:a,1", "iqn.2026-11.io.x:a b", " iqn.2026-11.io.x:a", "iqn.2026-11.io.x:a ", "iqn.2026-11.io.x:a_b",
		"iqn.2026-11.io.x:$(reboot)", "iqn.2026-11.io.x:a;b", "iqn.2026-11.io.x:\u212a", "iqn.2026-11.io.x:ä", "iqn.2026-11.io.x:a\xff",
		"eui.", "eui.0", "eui.02004567A425678", "eui.02004567A425678DE", "eui.g2004567a425678d",
		"naa.", "naa.5200", "naa.62004567BA64678D0123456789ABCDE",
		"iqn.2026-11.io.portbind:" + strings.Repeat("a", MaxLength-23), strings.Repeat("a", 10<<10),
	}
	for _, name := range bad {
		got, err := Parse(name)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %v", name, got, err)
			continue
		}
		if text := err.Error(); len(text) > 500 || strings.ContainsAny(text, "\n\r\x00") {
			t.Errorf("%q: bad message %q", name, text)
		}
	}
}

func TestParsePortal(t *testing.T) {
	good := map[string]string{
		"192.0.2.1":                "192.0.2.1:3260",
		"192.0.2.1:3261":           "192.0.2.1:3261",
		"2001:db8::1":              "[2001:db8::1]:3260",
		"[2001:db8::1]":            "[2001:db8::1]:3260",
		"[2001:DB8:0::1]:860":      "[2001:db8::1]:860",
		"::ffff:192.0.2.1":         "192.0.2.1:3260",
		"[::ffff:192.0.2.1]:65535": "192.0.2.1:65535",
	}
	for text, want := range good {
		if got, err := ParsePortal(text); err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
}

func TestParsePortalRefuses(t *testing.T) {
	bad := []string{
		"", ":", ":3260", "storage.example.com", "storage.example.com:3260", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536",
		"192.0.2.1:+1", "192.0.2.1:03260", "192.0.2.1:3260,1", "192.0.2.1:http", "192.0.2", "192.0.2.1/24", "192.0.2.01",
		"[192.0.2.1]:3260", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]3260", "[2001:db8::1]:", "[]:3260", "[[::1]]:1",
		"fe80::1%eth0", "[fe80::1%eth0]:3260", "0.0.0.0", "[::]:3260", "224.0.0.1", "ff02::1", "255.255.255.255",
		"192.0.2.1\n", " 192.0.2.1", "192.0.2.1 ", "-p", "../192.0.2.1", "192.0.2.1:3260\nx", strings.Repeat("1", 10<<10),
	}
	for _, text := range bad {
		got, err := ParsePortal(text)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %s, %v", text, got, err)
			continue
		}
		if message := err.Error(); len(message) > 500 || strings.ContainsAny(message, "\n\r\x00") {
			t.Errorf("%q: bad message %q", text, message)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"iqn.2026-11.io.portbind:node-1", "eui.02004567A425678D", "naa.52004567BA64678D", "iqn.2026-11.io.x:../a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := Parse(name)
		if err != nil {
			return
		}
		if again, err := Parse(got); err != nil || again != got {
			t.Errorf("%q: canonical form %q gives %q, %v", name, got, again, err)
		}
		if strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789.:-") != "" || got[0] == '-' || got[0] == '.' || len(got) > MaxLength {
			t.Errorf("%q: got %q", name, got)
		}
	})
}

func FuzzParsePortal(f *testing.F) {
	for _, seed := range []string{"192.0.2.1:3260", "[2001:db8::1]:3260", "::ffff:1.2.3.4", "[::1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParsePortal(text)
		if err != nil {
			return
		}
		if again, err := ParsePortal(got.String()); err != nil || again != got {
			t.Errorf("%q: canonical form %s gives %s, %v", text, got, again, err)
		}
		if !got.IsValid() || got.Port() == 0 || got.Addr().Zone() != "" {
			t.Errorf("%q: got %s", text, got)
		}
	})
}
