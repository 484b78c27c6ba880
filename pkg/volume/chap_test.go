package volume

import (
	"fmt"
	"strings"
	"testing"
)

func TestCHAP(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]map[string]string{
		"none":           nil,
		"only discovery": {"discovery.sendtargets.auth.username": "u", "discovery.sendtargets.auth.password": "p"},
		"metadata":       {"csi.storage.k8s.io/x": "y"},
	} {
		if c, err := ParseCHAP(m); c != nil || err != nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	c, err := ParseCHAP(map[string]string{
		keyUser: "u", keySecret: "secret one", keyTargetUser: "tu", keyTargetSecret: "secret#two",
	})
	if err != nil || *c != (CHAP{User: "u", Secret: "secret one", TargetUser: "tu", TargetSecret: "secret#two"}) {
		t.Errorf("mutual CHAP was not read: %v", err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprint(*c), fmt.Sprintf("%+v %#v %s", c, c, c), fmt.Sprintf("%+v %#v", *c, *c)} {
		if strings.Contains(text, "secret") {
			t.Errorf("formatting shows the secret: %s", text)
		}
	}
}

func TestCHAPRefusedWithoutValues(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	full := func(key, value string) map[string]string {
		m := map[string]string{keyUser: "u", keySecret: secret, keyTargetUser: "tu", keyTargetSecret: "other-" + secret}
		m[key] = value
		return m
	}
	for name, m := range map[string]map[string]string{
		"unknown key":                full("password", secret),
		"no user":                    full(keyUser, ""),
		"no secret":                  full(keySecret, ""),
		"no target user":             full(keyTargetUser, ""),
		"no target secret":           full(keyTargetSecret, ""),
		"only the target's":          {keyTargetUser: "tu", keyTargetSecret: secret},
		"one secret for both":        full(keyTargetSecret, secret),
		"line break at the end":      full(keySecret, secret+"\n"),
		"line injected":              full(keySecret, secret+"\nnode.startup = automatic"),
		"control character":          full(keyUser, secret+"\x07"),
		"space in front":             full(keySecret, " "+secret),
		"not ASCII":                  full(keySecret, secret+"é"),
		"too long":                   full(keySecret, strings.Repeat(secret, 100)),
		"too long for the target":    full(keyTargetSecret, strings.Repeat(secret, 1000)),
		"secret as the name of keys": {secret + "\n": "x"},
	} {
		_, err := ParseCHAP(m)
		wantRefused(t, "secrets", name, err)
		if err != nil && strings.Contains(err.Error(), "hunter2") && name != "secret as the name of keys" {
			t.Errorf("%s: the error repeats a secret: %v", name, err)
		}
	}
}

func FuzzParseCHAP(f *testing.F) {
	f.Add("u", "marker-secret", "tu", "marker-other")
	f.Fuzz(func(t *testing.T, user, secret, targetUser, targetSecret string) {
		_, err := ParseCHAP(map[string]string{
			keyUser: user, keySecret: "zq7" + secret, keyTargetUser: targetUser, keyTargetSecret: "zq7" + targetSecret,
		})
		if err != nil && strings.Contains(err.Error(), "zq7") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	})
}
