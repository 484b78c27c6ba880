//go:build lab

package iscsi

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/iscsi"
)

func portalAt(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// requireCHAP makes the target ask for a secret, and prove itself with another.
func (s *scene) requireCHAP(c iscsi.CHAP) {
	s.t.Helper()
	const tpg = "/sys/kernel/config/target/iscsi/" + target + "/tpgt_1"
	s.Write(tpg+"/attrib/generate_node_acls", "0")
	s.Write(tpg+"/attrib/authentication", "1")
	acl := tpg + "/acls/" + initiator
	s.must(os.MkdirAll(acl, 0o755))
	s.Write(acl+"/auth/userid", c.User)
	s.Write(acl+"/auth/password", c.Secret)
	s.Write(acl+"/auth/userid_mutual", c.TargetUser)
	s.Write(acl+"/auth/password_mutual", c.TargetSecret)
}

func TestCHAP(t *testing.T) {
	s := newScene(t)
	right := iscsi.CHAP{User: "initiator-name", Secret: "correct-horse-1", TargetUser: "target-name", TargetSecret: "battery-staple-2"}
	s.requireCHAP(right)
	oneWay := right
	oneWay.TargetUser, oneWay.TargetSecret = "", ""
	wrong := oneWay
	wrong.Secret = "incorrect-horse"
	wrongUser := oneWay
	wrongUser.User = "nobody"
	impostor := right
	impostor.TargetSecret = "another-staple-3"
	tests := []struct {
		name string
		chap *iscsi.CHAP
		want error
	}{
		{"one-way", &oneWay, nil},
		{"mutual", &right, nil},
		{"wrong secret", &wrong, iscsi.ErrAuth},
		{"wrong user", &wrongUser, iscsi.ErrAuth},
		{"wrong target", &impostor, iscsi.ErrAuth},
		{"none", nil, iscsi.ErrAuth},
	}
	for _, test := range tests {
		n := node(s.matrix[0])
		n.CHAP = test.chap
		s.records(n)
		start := time.Now()
		err := s.client.Login(t.Context(), n.ID())
		t.Logf("%-14s %s: %v", test.name, time.Since(start).Round(time.Millisecond), err)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %s", test.name, took)
		}
		if err != nil {
			s.noSecret(err.Error(), right, wrong, impostor)
		}
		for _, session := range s.sessions() {
			s.must(s.client.Logout(t.Context(), session.ID, id(session)))
		}
	}
	s.noSecret(strings.Join(s.host.lines, "\n"), right, wrong, impostor)
	s.noSecret(s.daemon.ISCSID.Tail(1000), right, wrong, impostor)
	s.must(os.Remove("/sys/kernel/config/target/iscsi/" + target + "/tpgt_1/acls/" + initiator))
	s.tearDown()
}

func (s *scene) noSecret(text string, all ...iscsi.CHAP) {
	s.t.Helper()
	for _, c := range all {
		for _, secret := range []string{c.Secret, c.TargetSecret} {
			if secret != "" && strings.Contains(text, secret) {
				s.t.Errorf("a secret in %q", text)
			}
		}
	}
}
