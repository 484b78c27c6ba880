package volume

import (
	"fmt"
	"strings"
)

// Keys of a Secret of the type kubernetes.io/iscsi-chap.
const (
	keyUser         = "node.session.auth.username"
	keySecret       = "node.session.auth.password" //nolint:gosec // The name of a key, not a secret.
	keyTargetUser   = "node.session.auth.username_in"
	keyTargetSecret = "node.session.auth.password_in" //nolint:gosec // The name of a key, not a secret.

	// maxCHAP is open-iscsi's AUTH_STR_MAX_LEN less its NUL.
	maxCHAP  = 255
	chapRule = "1 to 255 printable ASCII characters, no space or line break at either end"
)

// discoveryKeys may be in such a Secret and are of no use: nothing is discovered.
var discoveryKeys = []string{
	"discovery.sendtargets.auth.username", "discovery.sendtargets.auth.password",
	"discovery.sendtargets.auth.username_in", "discovery.sendtargets.auth.password_in",
}

// CHAP holds what initiator and target prove to each other. Secrets: never logged, never in an error.
type CHAP struct {
	User, Secret string
	// TargetUser and TargetSecret are for mutual CHAP, both or neither.
	TargetUser, TargetSecret string
}

// String keeps secrets out of formatted output.
func (CHAP) String() string { return "CHAP(***stripped***)" }

// GoString keeps secrets out of %#v.
func (c CHAP) GoString() string { return c.String() }

// ParseCHAP reads the secrets of a request; nil when there are none. Errors are *FieldError, without any value.
func ParseCHAP(m map[string]string) (*CHAP, error) {
	f, _ := splitMetadata("secrets", m)
	c := CHAP{
		User: f.get(keyUser), Secret: f.get(keySecret),
		TargetUser: f.get(keyTargetUser), TargetSecret: f.get(keyTargetSecret),
	}
	f.known = append(f.known, discoveryKeys...)
	if err := f.unknown(); err != nil {
		return nil, err
	}
	if err := c.check(f); err != nil {
		return nil, err
	}
	if c.User == "" {
		return nil, nil //nolint:nilnil // No secrets is a valid answer and has no value.
	}
	return &c, nil
}

func (c CHAP) check(f *fields) error {
	for _, k := range []string{keyUser, keySecret, keyTargetUser, keyTargetSecret} {
		if v := f.values[k]; v != "" && !validCHAP(v) {
			return &FieldError{Field: f.field(k), Allowed: chapRule}
		}
	}
	switch {
	case (c.User == "") != (c.Secret == ""):
		return &FieldError{Field: f.path, Allowed: fmt.Sprintf("%s and %s, both or neither", keyUser, keySecret)}
	case (c.TargetUser == "") != (c.TargetSecret == ""):
		return &FieldError{Field: f.path, Allowed: fmt.Sprintf("%s and %s, both or neither", keyTargetUser, keyTargetSecret)}
	case c.User == "" && c.TargetUser != "":
		return &FieldError{Field: f.path, Allowed: fmt.Sprintf("%s only with %s", keyTargetUser, keyUser)}
	case c.Secret != "" && c.Secret == c.TargetSecret:
		// RFC 7143 section 12.1.3: one secret for both directions could be reflected.
		return &FieldError{Field: f.field(keyTargetSecret), Allowed: "another secret than " + keySecret}
	}
	return nil
}

// validCHAP holds what an open-iscsi record can carry on its line unchanged.
func validCHAP(s string) bool {
	if len(s) > maxCHAP || strings.TrimSpace(s) != s {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
