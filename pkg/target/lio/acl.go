package lio

import (
	"fmt"
	"strings"
	"sync"
)

// CHAP holds the credentials of one initiator. Secrets: never logged, never in an error.
type CHAP struct {
	User, Secret string
	// TargetUser and TargetSecret are for mutual CHAP, both or neither.
	TargetUser, TargetSecret string
}

// String keeps secrets out of formatted output.
func (CHAP) String() string { return "CHAP(***stripped***)" }

// GoString keeps secrets out of %#v.
func (c CHAP) GoString() string { return c.String() }

// unset is what the kernel takes for no credential. Names and secrets that begin so are unset too.
const unset = "NULL"

func (t *Target) acl(initiator string) string { return t.tpg + "/acls/" + initiator }

// lockACL serialises what is done to one ACL.
func (t *Target) lockACL(initiator string) (unlock func()) {
	t.mu.Lock()
	m, ok := t.acls[initiator]
	if !ok {
		m = &sync.Mutex{}
		t.acls[initiator] = m
	}
	t.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// ensureACL lets an initiator in, with credentials or, when CHAP is nil, without. A new ACL is closed until its
// credentials are set: the TPG demands authentication, and an ACL without credentials cannot pass.
func (t *Target) ensureACL(initiator string, chap *CHAP) error {
	acl := t.acl(initiator)
	if err := t.tree.Mkdir(acl); err != nil {
		return err
	}
	perACL, err := t.tree.Exists(acl + "/attrib/authentication")
	if err != nil {
		return err
	}
	if chap != nil && !perACL && !t.cfg.CHAPRequired {
		return fmt.Errorf("%w: CHAP for one initiator and none for others needs Linux 6.0; set chap: required", ErrUnsupported)
	}
	if chap == nil {
		chap = &CHAP{}
	}
	if perACL {
		if err := t.set(acl+"/attrib/authentication", t.demand(chap)); err != nil {
			return err
		}
	}
	for _, a := range []struct{ name, value string }{
		{"userid", chap.User},
		{"password", chap.Secret},
		{"userid_mutual", chap.TargetUser},
		{"password_mutual", chap.TargetSecret},
	} {
		if err := t.credential(acl+"/auth/"+a.name, a.value); err != nil {
			return err
		}
	}
	return nil
}

// demand is the ACL's authentication attribute: -1 is the TPG's, 0 is none.
func (t *Target) demand(chap *CHAP) string {
	if chap.User == "" && !t.cfg.CHAPRequired {
		return "0"
	}
	return "-1"
}

// credential sets one. An empty one reads as such or as NULL once it was unset.
func (t *Target) credential(path, value string) error {
	have, err := t.tree.Read(path)
	if err != nil {
		return err
	}
	if have == value || value == "" && have == unset {
		return nil
	}
	if value == "" {
		value = unset
	}
	return t.tree.Write(path, value)
}

// noSession begins an ACL's info file when nobody is logged in.
const noSession = "No active iSCSI Session"

// Initiators lists the ACLs.
func (t *Target) Initiators() ([]string, error) { return t.tree.Dirs(t.tpg + "/acls") }

// LoggedIn says whether an initiator that has an ACL has a session; how many, the kernel does not tell.
func (t *Target) LoggedIn(initiator string) (bool, error) {
	info, err := t.tree.Read(t.acl(initiator) + "/info")
	if err != nil {
		return false, fmt.Errorf("ACL of %s: %w", initiator, err)
	}
	return !strings.HasPrefix(info, noSession), nil
}

// Release removes the ACL of an initiator that has no LUN and no session: one that is still logged in keeps it, so
// that its next volume finds the sessions up. inUse is asked under the ACL's lock whether it must stay.
func (t *Target) Release(initiator string, inUse func() bool) error {
	unlock := t.lockACL(initiator)
	defer unlock()
	acl := t.acl(initiator)
	there, err := t.tree.Exists(acl)
	if err != nil || !there || inUse() {
		return err
	}
	if in, err := t.LoggedIn(initiator); err != nil || in {
		return err
	}
	if err := t.tree.Rmdir(acl); err != nil {
		return fmt.Errorf("remove ACL of %s: %w", initiator, err)
	}
	return nil
}

// kick drops the sessions of an initiator without removing its ACL: the kernel does so when the queue depth of an
// ACL changes (core_tpg_set_initiator_node_queue_depth). They come back by themselves.
func (t *Target) kick(initiator string) error {
	path := t.acl(initiator) + "/cmdsn_depth"
	depth, err := t.tree.Read(path)
	if err != nil {
		return fmt.Errorf("drop sessions of %s: %w", initiator, err)
	}
	if err := t.tree.Write(path, toggled(depth)); err != nil {
		return fmt.Errorf("drop sessions of %s: %w", initiator, err)
	}
	return nil
}

// defaultDepth is default_cmdsn_depth, 64, and otherDepth one beside it.
const (
	defaultDepth = "64"
	otherDepth   = "65"
)

func toggled(depth string) string {
	if depth == defaultDepth {
		return otherDepth
	}
	return defaultDepth
}
