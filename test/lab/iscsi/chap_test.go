//go:build lab

package iscsi

import (
	"context"
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

// TestReinstate ends sessions at the target, over the other NIC, with and without secrets. That the initiator notices shows that
// the ISID is the one that iscsid logged in with.
func TestReinstate(t *testing.T) {
	s := newScene(t)
	s.reinstate(nil, nil, nil)
	mutual := iscsi.CHAP{User: "initiator-name", Secret: "correct-horse-1", TargetUser: "target-name", TargetSecret: "battery-staple-2"}
	s.requireCHAP(mutual)
	oneWay := mutual
	oneWay.TargetUser, oneWay.TargetSecret = "", ""
	wrong, impostor := oneWay, mutual
	wrong.Secret, impostor.TargetSecret = "incorrect-horse", "another-staple-3"
	s.reinstate(&oneWay, &oneWay, nil)
	s.reinstate(&oneWay, &mutual, nil)
	s.reinstate(&oneWay, &wrong, iscsi.ErrAuth)
	s.reinstate(&oneWay, nil, iscsi.ErrTimeout) // LIO just hangs up
	s.reinstate(&oneWay, &impostor, iscsi.ErrAuth)
	s.must(os.Remove("/sys/kernel/config/target/iscsi/" + target + "/tpgt_1/acls/" + initiator))
	s.tearDown()
}

// reinstate logs in over one NIC with what is right, and tells the target over the other one with what may be wrong.
func (s *scene) reinstate(login, chap *iscsi.CHAP, want error) {
	s.t.Helper()
	n, over := node(s.matrix[0]), s.matrix[len(s.matrix)-1]
	n.CHAP = login
	s.records(n)
	s.must(s.client.Login(s.t.Context(), n.ID()))
	session := s.sessions()[0]
	loggedIn := func() bool { return s.sessions()[0].LoggedIn() }
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	start := time.Now()
	err := iscsi.Reinstate(ctx, iscsi.Reinstatement{
		Asking: iscsi.Asking{NIC: "san1", Portal: over.Portal, Initiator: initiator, Target: target},
		ISID:   iscsi.ISIDOf(session.ID), CHAP: chap,
	})
	s.t.Logf("%v after %v", err, time.Since(start).Round(time.Millisecond))
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		s.t.Errorf("got %v; wanted %v", err, want)
	}
	if err != nil {
		s.noSecret(err.Error(), *login, iscsi.CHAP{Secret: "incorrect-horse", TargetSecret: "another-staple-3"})
	} else {
		s.Eventually(5*time.Second, "the session to be lost", func() bool { return !loggedIn() })
	}
	s.Eventually(20*time.Second, "the session to be there", loggedIn)
	s.must(s.client.Logout(s.t.Context(), session.ID, n.ID()))
}
