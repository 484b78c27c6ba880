package lio

import (
	"context"
	"fmt"
	"path"
	"time"

	"k8s.io/klog/v2"
)

// Mapping is a volume as a LUN of one initiator.
type Mapping struct {
	// Volume is the backstore's name.
	Volume    string
	Initiator string
	// LUN is the number that the initiator sees, TPGLUN a number that this mapping alone has.
	LUN, TPGLUN uint32
	ReadOnly    bool
	// CHAP is nil when the initiator need not authenticate.
	CHAP *CHAP
}

func (t *Target) tpgLUN(n uint32) string { return fmt.Sprintf("%s/lun/lun_%d", t.tpg, n) }

func (t *Target) mappedLUN(initiator string, n uint32) string {
	return fmt.Sprintf("%s/lun_%d", t.acl(initiator), n)
}

// Map gives the initiator the LUN. Each mapping has a LUN of the target of its own, even if two initiators share a
// volume: see Unmap.
func (t *Target) Map(m Mapping) error {
	if m.TPGLUN >= maxTPGLUN || m.LUN >= FirstLUN+MaxLUNs {
		return fmt.Errorf("map %s: LUN %d, target LUN %d: out of range", m.Volume, m.LUN, m.TPGLUN)
	}
	if err := t.connect(t.tpgLUN(m.TPGLUN), backstore(m.Volume)); err != nil {
		return fmt.Errorf("LUN of %s: %w", m.Volume, err)
	}
	unlock := t.lockACL(m.Initiator)
	defer unlock()
	if err := t.ensureACL(m.Initiator, m.CHAP); err != nil {
		return fmt.Errorf("ACL of %s: %w", m.Initiator, err)
	}
	dir := t.mappedLUN(m.Initiator, m.LUN)
	if err := t.connect(dir, t.tpgLUN(m.TPGLUN)); err != nil {
		return fmt.Errorf("map %s to %s: %w", m.Volume, m.Initiator, err)
	}
	protect := "0"
	if m.ReadOnly {
		protect = "1"
	}
	if err := t.set(dir+"/write_protect", protect); err != nil {
		return fmt.Errorf("map %s to %s: %w", m.Volume, m.Initiator, err)
	}
	return nil
}

// connect makes a LUN directory and links it to what it stands for, once. One that leads elsewhere is an error:
// numbers are given out once, so somebody else has been at work.
func (t *Target) connect(dir, to string) error {
	if err := t.tree.Mkdir(dir); err != nil {
		return err
	}
	links, err := t.tree.Links(dir)
	if err != nil {
		return err
	}
	if len(links) == 0 {
		return t.tree.Link(to, dir+"/"+link)
	}
	have, err := t.tree.Readlink(dir + "/" + links[0])
	if err == nil && have != to {
		err = fmt.Errorf("%s leads to %s, not to %s", dir, have, to)
	}
	return err
}

// Unmap takes the LUN from the initiator and fences: when it has returned nil, no command of that initiator can
// reach the volume any more. First the mapping goes, so that new commands are refused. Then the target's LUN goes;
// the kernel lets its link go only when every command on it is done, those that still wait for their data included
// (core_tpg_remove_lun, transport_clear_lun_ref). As no other initiator uses this LUN, nobody else is disturbed. A
// peer that keeps a command waiting for too long loses its sessions. It may block for long; it cannot be cancelled.
func (t *Target) Unmap(ctx context.Context, m Mapping) error {
	if err := t.disconnect(t.mappedLUN(m.Initiator, m.LUN)); err != nil {
		return fmt.Errorf("unmap %s from %s: %w", m.Volume, m.Initiator, err)
	}
	done := make(chan error, 1)
	go func() { done <- t.disconnect(t.tpgLUN(m.TPGLUN)) }()
	timer := time.NewTimer(t.kickAfter)
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("fence %s from %s: %w", m.Volume, m.Initiator, err)
			}
			return nil
		case <-timer.C:
			klog.FromContext(ctx).Info("Commands are still waited for: dropping the initiator's sessions",
				"volume", m.Volume, "initiator", m.Initiator)
			go t.kickLogged(ctx, m.Initiator)
		}
	}
}

// kickLogged is kick for which nobody waits: it blocks like what it is to help.
func (t *Target) kickLogged(ctx context.Context, initiator string) {
	if err := t.kick(initiator); err != nil {
		klog.FromContext(ctx).Error(err, "Sessions stay", "initiator", initiator)
	}
}

// disconnect removes a LUN directory with its link.
func (t *Target) disconnect(dir string) error {
	links, err := t.tree.Links(dir)
	if err != nil {
		return err
	}
	for _, name := range links {
		if err := t.tree.Unlink(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return t.tree.Rmdir(dir)
}
