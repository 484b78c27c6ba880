//go:build lab

package target

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
	"github.com/portbind/portbind/test/lab/labenv"
)

var (
	oneWay = &targetv1.Chap{User: "alice", Secret: "alices-long-secret"}
	mutual = &targetv1.Chap{User: "alice", Secret: "alices-long-secret", TargetUser: "bob", TargetSecret: "bobs-longer-secret"}
)

// record makes the node record's lines of credentials.
func record(c *targetv1.Chap) []string {
	lines := []string{"node.session.auth.authmethod", "CHAP"}
	for _, kv := range [][2]string{
		{"username", c.GetUser()}, {"password", c.GetSecret()}, {"username_in", c.GetTargetUser()}, {"password_in", c.GetTargetSecret()},
	} {
		lines = append(lines, "node.session.auth."+kv[0], kv[1])
	}
	return lines
}

func changed(c *targetv1.Chap, change func(*targetv1.Chap)) *targetv1.Chap {
	other, ok := proto.Clone(c).(*targetv1.Chap)
	if !ok {
		panic("a clone is of the same type")
	}
	change(other)
	return other
}

func TestCHAP(t *testing.T) {
	s := start(t, labenv.TargetOptions{CHAP: "required"})
	s.StartInitiator(labenv.InitiatorOptions{})
	me := labenv.InitiatorName()
	s.create("v", 4*mib)
	s.create("w", 4*mib)
	publish := func(name string, chap *targetv1.Chap) error {
		_, err := s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key(name), Initiator: me, Chap: chap})
		return err
	}
	try := func(what string, ok bool, lines ...string) {
		t.Helper()
		err := s.tryLogin("san0", lines...)
		if (err == nil) != ok {
			t.Errorf("%s: login gives %v", what, err)
		}
		if err == nil {
			s.logoutKernel()
		}
		s.Run("iscsiadm", "-m", "node", "-T", s.target.IQN, "-o", "delete")
	}
	s.want(publish("v", nil), codes.InvalidArgument, "chap")
	s.must(publish("v", oneWay))
	try("without credentials", false, "node.session.auth.authmethod", "None")
	try("one-way", true, record(oneWay)...)
	try("wrong secret", false, record(changed(oneWay, func(c *targetv1.Chap) { c.Secret = "not-the-right-one" }))...)
	try("wrong user", false, record(changed(oneWay, func(c *targetv1.Chap) { c.User = "mallory" }))...)
	s.must(publish("w", oneWay))
	s.want(publish("w", mutual), codes.FailedPrecondition, "credentials")
	s.unpublish("w", me)
	s.must(publish("v", mutual))
	try("mutual", true, record(mutual)...)
	try("mutual, the target's secret is wrong", false,
		record(changed(mutual, func(c *targetv1.Chap) { c.TargetSecret = "the-target-is-another" }))...)
	s.target.Kill()
	s.target.ForgetKernelState()
	s.target.Start()
	try("mutual after a reboot", true, record(mutual)...)
	s.must(publish("v", oneWay))
	try("one-way again", true, record(oneWay)...)
	s.noSecret(oneWay.GetSecret(), mutual.GetTargetSecret())
	s.unpublish("v", me)
	s.remove("v")
	s.remove("w")
}

// TestCHAPOptional: those with credentials must use them, those without get in; switching to required shuts the latter
// out.
func TestCHAPOptional(t *testing.T) {
	s := start(t, labenv.TargetOptions{CHAP: "optional"})
	s.StartInitiator(labenv.InitiatorOptions{})
	me := labenv.InitiatorName()
	s.create("v", 4*mib)
	_, err := s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key("v"), Initiator: me, Chap: oneWay})
	s.must(err)
	if err := s.tryLogin("san0", "node.session.auth.authmethod", "None"); err == nil {
		t.Error("an initiator with credentials got in without")
		s.logoutKernel()
	}
	s.unpublish("v", me)
	s.publish("v", me, false)
	s.must(s.tryLogin("san0", "node.session.auth.authmethod", "None"))
	s.logoutKernel()
	s.target.Stop()
	config, err := os.ReadFile(s.target.Config)
	s.must(err)
	s.must(os.WriteFile(s.target.Config, []byte(strings.Replace(string(config), "chap: optional", "chap: required", 1)), 0o600))
	s.target.Start()
	if err := s.tryLogin("san0", "node.session.auth.authmethod", "None"); err == nil {
		t.Error("chap: required lets an old export in without credentials")
		s.logoutKernel()
	}
	s.unpublish("v", me)
	s.remove("v")
}

// noSecret looks for secrets where they must not be.
func (s *setup) noSecret(secrets ...string) {
	s.T.Helper()
	log, err := os.ReadFile(s.target.Log)
	s.must(err)
	for _, secret := range secrets {
		if strings.Contains(string(log), secret) {
			s.T.Error("a secret is in the log")
		}
	}
	info, err := os.Stat(s.target.StateDir + "/exports.db")
	s.must(err)
	if info.Mode().Perm() != 0o600 {
		s.T.Errorf("the database has mode %v", info.Mode())
	}
}
