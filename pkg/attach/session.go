package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

var (
	// errDown is a session that iscsid is trying to bring back. It is left alone: a logout would take disks with it.
	errDown = errors.New("session is down, open-iscsi is reconnecting it")
	// errWrongNIC is a session of ours that is bound to another NIC, or logged in under another name, than it should.
	errWrongNIC = errors.New("session is bound to the wrong NIC or name")
)

const (
	// probeTime bounds the wait for a TCP connection before a login is tried: a dead portal is then found out without
	// iscsid, whose login timeout is longer.
	probeTime = 5 * time.Second
	// loginTime bounds all that a login may take.
	loginTime = 2 * time.Minute
	// silentTime is how long a portal that did not answer is taken for dead: it is tried, but not waited for.
	silentTime = time.Minute
)

func nodeID(target string, p binding.Pair) iscsi.NodeID {
	return iscsi.NodeID{Target: target, Portal: p.Portal, Interface: p.Interface.Name}
}

// findSession gives the session of an id among those of the node; its portal is the one asked for, not the one that a
// redirect led to.
func findSession(all []sysfs.Session, id iscsi.NodeID) (sysfs.Session, bool) {
	for _, s := range all {
		if s.Target == id.Target && s.Iface == iscsi.IfaceName(id.Interface) && asked(s) == id.Portal {
			return s, true
		}
	}
	return sysfs.Session{}, false
}

func asked(s sysfs.Session) netip.AddrPort {
	if s.Persistent.IsValid() {
		return s.Persistent
	}
	return s.Portal
}

// dial is one pair on its way to a session.
type dial struct {
	spec Spec
	pair binding.Pair
	// heal: there may be no secret in spec; the record that the attach wrote has it.
	heal bool
	// have are the node's sessions, as they were a moment ago.
	have []sysfs.Session
}

// session gives the pair's session, logged in. It exists already, or a login makes it: one for all who want it, so it
// does not end with the call that began it.
func (a *Attacher) session(ctx context.Context, d dial) (sysfs.Session, error) {
	id := nodeID(d.spec.Target, d.pair)
	if !d.heal && a.records.has(a.node(d)) {
		s, err := a.standing(ctx, id, d, d.have)
		// One that is down may be in the middle of the login that another call began.
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, errDown) {
			return s, err
		}
	}
	made := a.logins.DoChan(fmt.Sprint(id, d.heal), func() (any, error) { //nolint:contextcheck // others may wait for it, too
		ctx, cancel := context.WithTimeout(a.life, loginTime)
		defer cancel()
		return a.makeSession(ctx, id, d)
	})
	select {
	case r := <-made:
		s, _ := r.Val.(sysfs.Session)
		return s, r.Err
	case <-ctx.Done():
		return sysfs.Session{}, ctx.Err()
	}
}

func (a *Attacher) makeSession(ctx context.Context, id iscsi.NodeID, d dial) (sysfs.Session, error) {
	if err := a.record(ctx, d); err != nil {
		return sysfs.Session{}, err
	}
	unlock, err := a.sessions.Lock(ctx, fmt.Sprint(id))
	if err != nil {
		return sysfs.Session{}, err
	}
	defer unlock()
	if s, err := a.standingNow(ctx, id, d); !errors.Is(err, ErrNotFound) {
		return s, err
	}
	if err := a.login(ctx, id, d); err != nil {
		return sysfs.Session{}, err
	}
	return a.standingNow(ctx, id, d)
}

func (a *Attacher) standingNow(ctx context.Context, id iscsi.NodeID, d dial) (sysfs.Session, error) {
	all, err := a.sys.Sessions()
	if err != nil {
		return sysfs.Session{}, err
	}
	return a.standing(ctx, id, d, all)
}

// node is what the pair's records should say.
func (a *Attacher) node(d dial) iscsi.Node {
	n := iscsi.Node{
		Target: d.spec.Target, Portal: d.pair.Portal, Timers: a.timersOf(d.spec.Target),
		Iface: iscsi.Iface{Interface: d.pair.Interface.Name, NIC: d.pair.Interface.NIC, Initiator: d.spec.Initiator},
	}
	if c := d.spec.CHAP; c != nil {
		n.CHAP = &iscsi.CHAP{User: c.User, Secret: c.Secret, TargetUser: c.TargetUser, TargetSecret: c.TargetSecret}
	}
	return n
}

// record writes what open-iscsi needs for the session, be it there or not: iscsid reads it when it restarts.
func (a *Attacher) record(ctx context.Context, d dial) error {
	n := a.node(d)
	if d.heal {
		if err := a.records.recall(ctx, &n); err != nil {
			return err
		}
	}
	defer a.rewritten(n.ID())
	return a.records.write(ctx, n)
}

// standing gives the session that exists: ErrNotFound when there is none, errDown when it does not work, errWrongNIC
// when it is not the one that it should be. One of the wrong kind that has no disks is closed and counts as none.
func (a *Attacher) standing(ctx context.Context, id iscsi.NodeID, d dial, all []sysfs.Session) (sysfs.Session, error) {
	s, ok := findSession(all, id)
	switch {
	case !ok:
		return s, ErrNotFound
	case s.NIC != d.pair.Interface.NIC || (d.spec.Initiator != "" && s.Initiator != d.spec.Initiator):
		return s, a.replaceable(ctx, s, id, d)
	case !s.LoggedIn():
		return s, fmt.Errorf("session %d: %w", s.ID, errDown)
	}
	return s, nil
}

// replaceable closes a session that runs where it should not, unless it has disks.
func (a *Attacher) replaceable(ctx context.Context, s sysfs.Session, id iscsi.NodeID, d dial) error {
	disks, err := a.sys.SessionDisks(s.ID)
	if err != nil {
		return err
	}
	if len(disks) > 0 {
		return fmt.Errorf("session %d: %w: it has NIC %q and initiator %q, wanted are %q and %q; it has %d disks and stays "+
			"until they are detached", s.ID, errWrongNIC, s.NIC, s.Initiator, d.pair.Interface.NIC, d.spec.Initiator, len(disks))
	}
	if err := a.cfg.ISCSI.Logout(ctx, s.ID, id); err != nil {
		return err
	}
	return ErrNotFound
}

// login probes the portal from its NIC and logs in.
func (a *Attacher) login(ctx context.Context, id iscsi.NodeID, d dial) error {
	a.ask(id)
	probe, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	if err := iscsi.Probe(probe, d.pair.Interface.NIC, id.Portal); err != nil {
		a.missed(id)
		if d.heal {
			a.await(id, d.pair.Interface.NIC)
		}
		return err
	}
	a.hear(id)
	err := a.cfg.ISCSI.Login(ctx, id)
	if err == nil {
		a.hear(id)
	}
	if e, ok := errors.AsType[*iscsi.Error](err); ok {
		return e.Err // which session it is a PairError says
	}
	return err
}

// contact is what is known of a portal as reached from an interface.
type contact struct {
	// heard is when something last came of it, silent when it last did not answer, and asked since when it is being
	// asked to.
	heard, silent, asked time.Time
}

// ask notes that a portal is being asked to answer.
func (a *Attacher) ask(id iscsi.NodeID) {
	a.note(id, func(c *contact) { c.asked = time.Now() })
}

// hear notes that it did, or that a login or a scan succeeded.
func (a *Attacher) hear(id iscsi.NodeID) {
	a.note(id, func(c *contact) { *c = contact{heard: time.Now()} })
}

// missed notes that it did not.
func (a *Attacher) missed(id iscsi.NodeID) {
	a.note(id, func(c *contact) { c.silent, c.asked = time.Now(), time.Time{} })
}

func (a *Attacher) note(id iscsi.NodeID, change func(*contact)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.contacts[id]
	change(&c)
	a.contacts[id] = c
}

func (a *Attacher) contact(id iscsi.NodeID) contact {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.contacts[id]
}
