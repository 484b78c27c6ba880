package iscsi

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what CHAP is made of
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// turn is what a target answers with, and what it was asked.
type turn struct {
	flags byte
	text  string
}

// scripted is a target that answers a login turn by turn; a text may be made of what it was asked. It gives the requests.
func scripted(t *testing.T, turns ...func(asked string) turn) (netip.AddrPort, <-chan []byte) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	asked := make(chan []byte, len(turns))
	go func() {
		defer close(asked)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for _, next := range turns {
			head := make([]byte, bhsLength)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			text := make([]byte, (int(head[6])<<8|int(head[7])+3)&^3)
			_, _ = io.ReadFull(conn, text)
			asked <- slices.Concat(head, text)
			_, _ = conn.Write(next(string(text)).pdu())
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String()), asked
}

func (u turn) pdu() []byte {
	pdu := make([]byte, bhsLength+(len(u.text)+3)&^3)
	pdu[0], pdu[1], pdu[6], pdu[7] = opLoginAnswer, u.flags, byte(len(u.text)>>8), byte(len(u.text))
	copy(pdu[bhsLength:], u.text)
	return pdu
}

func say(flags byte, text string) func(string) turn {
	return func(string) turn { return turn{flags, text} }
}

// prove answers the initiator's challenge with a secret.
func prove(secret string) func(string) turn {
	return func(asked string) turn {
		keys := parseKeys([]byte(asked))
		challenge, _ := parseBinary(keys["CHAP_C"])
		answer := chapResponse(md5.New, keys["CHAP_I"][0]-'0', secret, challenge)
		return turn{toOperational, "CHAP_N=the-target\x00CHAP_R=0x" + hex.EncodeToString(answer) + "\x00"}
	}
}

const (
	toEnd   = flagTransit | operationalStage<<2 | fullFeature
	askCHAP = "AuthMethod=CHAP\x00TargetPortalGroupTag=1\x00"
	askMD5  = "CHAP_A=5\x00CHAP_I=3\x00CHAP_C=0x0102\x00"
)

func TestReinstate(t *testing.T) {
	mutual := &CHAP{User: "user", Secret: "secret", TargetUser: "the-target", TargetSecret: "other"}
	oneWay := &CHAP{User: "user", Secret: "secret"}
	for _, c := range []struct {
		name  string
		chap  *CHAP
		turns []func(string) turn
		want  error
	}{
		{"no secret", nil, []func(string) turn{say(toOperational, "AuthMethod=None\x00"), say(toEnd, "")}, nil},
		{"no secret wanted", oneWay, []func(string) turn{
			say(0, "AuthMethod=None\x00"), say(toOperational, ""), say(toEnd, ""),
		}, nil},
		{"more to say", nil, []func(string) turn{say(toOperational, ""), say(4, "MaxBurstLength=512\x00"), say(toEnd, "")}, nil},
		{"one-way", oneWay, []func(string) turn{say(0, askCHAP), say(0, askMD5), say(toOperational, ""), say(toEnd, "")}, nil},
		{"mutual", mutual, []func(string) turn{say(0, askCHAP), say(0, askMD5), prove("other"), say(toEnd, "")}, nil},
		{"impostor", mutual, []func(string) turn{say(0, askCHAP), say(0, askMD5), prove("guess")}, ErrAuth},
		{"no proof", mutual, []func(string) turn{say(0, askCHAP), say(0, askMD5), say(toOperational, "")}, ErrAuth},
		{"no method", mutual, []func(string) turn{say(0, "AuthMethod=None\x00"), say(toOperational, "")}, ErrAuth},
		{"other method", oneWay, []func(string) turn{say(0, "AuthMethod=KRB5\x00")}, ErrAuth},
		{"other algorithm", oneWay, []func(string) turn{say(0, askCHAP), say(0, "CHAP_A=99\x00CHAP_I=1\x00CHAP_C=0x01\x00")}, ErrAuth},
		{"bad identifier", oneWay, []func(string) turn{say(0, askCHAP), say(0, "CHAP_A=5\x00CHAP_I=256\x00CHAP_C=0x01\x00")}, ErrAuth},
		{"bad challenge", oneWay, []func(string) turn{say(0, askCHAP), say(0, "CHAP_A=5\x00CHAP_I=1\x00CHAP_C=xyz\x00")}, ErrAuth},
		{"CHAP without a secret", nil, []func(string) turn{say(0, "CHAP_A=5\x00")}, ErrAuth},
		{"hangs up", nil, nil, ErrTimeout},
		{"text goes on", nil, []func(string) turn{say(flagContinue, "")}, ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			portal, asked := scripted(t, c.turns...)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := Reinstate(ctx, Reinstatement{
				Asking: Asking{NIC: "lo", Portal: portal, Initiator: "iqn.2026-11.io.example:a", Target: "iqn.2026-11.io.example:t"},
				ISID:   ISIDOf(0x010203), CHAP: c.chap,
			})
			if errors.Is(err, unix.EPERM) {
				t.Skip("no permission to bind to a device: ", err)
			}
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v; wanted %v", err, c.want)
			}
			for pdu := range asked {
				if diff := cmp.Diff([]byte{0, 2, 0x3d, 1, 2, 3, 0, 0}, pdu[8:16]); diff != "" {
					t.Error("ISID and TSIH: ", diff)
				}
				if bytes.Contains(pdu, []byte("secret")) || bytes.Contains(pdu, []byte("other")) {
					t.Errorf("a secret in %q", pdu)
				}
			}
		})
	}
}

func TestReinstateRefused(t *testing.T) {
	for _, c := range []struct {
		class, detail byte
		want          error
	}{{2, 1, ErrAuth}, {2, 2, ErrDenied}, {2, 3, ErrDenied}, {2, 6, ErrRefused}, {1, 1, ErrRefused}, {3, 1, ErrRefused}} {
		portal, _ := answering(t, c.class, c.detail)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := Reinstate(ctx, Reinstatement{Asking: Asking{NIC: "lo", Portal: portal}})
		cancel()
		if errors.Is(err, unix.EPERM) {
			t.Skip("no permission to bind to a device: ", err)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("status %d, %d: got %v; wanted %v", c.class, c.detail, err, c.want)
		}
	}
}

// TestCHAPResponse holds the hash against that of another program: printf '\x03secret\x01\x02' | md5sum.
func TestCHAPResponse(t *testing.T) {
	got := hex.EncodeToString(chapResponse(md5.New, 3, "secret", []byte{1, 2}))
	if want := "4c3fc6856c79dc1a5757d9423b685644"; got != want {
		t.Errorf("got %s; wanted %s", got, want)
	}
}

func FuzzLoginAnswer(f *testing.F) {
	f.Add([]byte(askCHAP), []byte(askMD5))
	f.Add([]byte("CHAP_A=7\x00CHAP_I=255\x00CHAP_C=0bAAAA\x00"), []byte("=\x00\x00a"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := authentication{chap: &CHAP{User: "user", Secret: "s3cr3t-of-ours", TargetSecret: "an0ther"}}
		for _, text := range [][]byte{first, second} {
			reply, err := a.reply(parseKeys(text))
			if strings.Contains(strings.Join(reply, " ")+errText(err), "s3cr3t-of-ours") {
				t.Errorf("the secret in %q, %v", reply, err)
			}
		}
		if a.accept(parseKeys(second)) == nil {
			t.Errorf("%q proves something", second)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
