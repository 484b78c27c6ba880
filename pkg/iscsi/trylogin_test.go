package iscsi

import (
	"errors"
	"net/netip"
	"testing"
)

// TestTryLogin: it ends with the security stage, whatever would come behind it.
func TestTryLogin(t *testing.T) {
	const challenge = "CHAP_A=5\x00CHAP_I=7\x00CHAP_C=0x0011223344556677\x00"
	mutual := &CHAP{User: "u", Secret: "secret-of-ours", TargetUser: "the-target", TargetSecret: "secret-of-theirs"}
	for name, c := range map[string]struct {
		chap  *CHAP
		turns []func(string) turn
		want  error
	}{
		"no CHAP":        {nil, []func(string) turn{say(toOperational, "AuthMethod=None\x00")}, nil},
		"CHAP wanted":    {nil, []func(string) turn{say(0, askCHAP)}, ErrAuth},
		"mutual":         {mutual, []func(string) turn{say(0, askCHAP), say(0, challenge), prove("secret-of-theirs")}, nil},
		"another secret": {mutual, []func(string) turn{say(0, askCHAP), say(0, challenge), prove("another-secret-there")}, ErrAuth},
	} {
		t.Run(name, func(t *testing.T) {
			portal, asked := scripted(t, c.turns...)
			err := TryLogin(t.Context(), Admission{Asking: Asking{NIC: "lo", Portal: portal, Initiator: "iqn.a:i", Target: "iqn.a:t"}, CHAP: c.chap})
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Errorf("got %v", err)
			}
			first := <-asked
			if first[8] != isidRandom {
				t.Errorf("ISID %x", first[8:14])
			}
		})
	}
	nobody := Admission{Asking: Asking{NIC: "lo", Portal: netip.MustParseAddrPort("127.0.0.1:1"), Initiator: "iqn.a:i", Target: "iqn.a:t"}}
	if err := TryLogin(t.Context(), nobody); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}
