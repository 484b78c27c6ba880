package iscsi

import (
	"context"
	"errors"
	"testing"
)

func TestNumbersISIDs(t *testing.T) {
	for version, want := range map[string]bool{
		"2.1.8": true, "2.1": true, "3.0": true, "2.0.874": true, "2.0-874": true, "2.0-874-suse": true, "2.0.876": true,
		"6.2.1.4-1": true, "6.2.0.874-22": true, "6.2.0.873-35": false,
		"2.0-873": false, "2.0-871-suse": false, "2.0": false, "1.9.9": false, "2": false, "": false, "unknown": false, "-": false,
	} {
		if got := NumbersISIDs(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestISIDOf(t *testing.T) {
	if got, want := ISIDOf(0x123456), (ISID{0, 2, 0x3d, 0x12, 0x34, 0x56}); got != want {
		t.Errorf("%x", got)
	}
}

type saying struct {
	out string
	err error
}

func (saying) InHost(fn func() error) error { return fn() }

func (a saying) Run(context.Context, []byte, string, ...string) ([]byte, error) {
	return []byte(a.out), a.err
}

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		saying
		want string
	}{
		{saying{out: "iscsid version 2.1.8\n"}, "2.1.8"},
		{saying{out: "usage: iscsid\n"}, ""},
		{saying{err: errors.New("not found")}, ""},
	} {
		got, err := New(Options{Host: c.saying}).Version(t.Context())
		if got != c.want || errors.Is(err, ErrNotReady) != (c.want == "") {
			t.Errorf("%q: %q, %v", c.out, got, err)
		}
	}
}
