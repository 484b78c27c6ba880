package failfast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/keep"
	"github.com/portbind/portbind/pkg/sysfs"
)

// recovery is the recovery time that a session had.
type recovery struct {
	Target  string `json:"target"`
	Iface   string `json:"iface"`
	NIC     string `json:"nic"`
	Seconds int    `json:"seconds"`
}

// saved are the recovery times to be restored, by session. The file is written before any of them is changed. It need not
// survive more than this process: sessions do not survive the machine.
type saved struct {
	file, bootID string

	Sessions map[int]recovery
}

type savedFile struct {
	BootID   string           `json:"bootID"`
	Sessions map[int]recovery `json:"sessions"`
}

// load reads what another process left in this boot.
func (s *saved) load() error {
	var f savedFile
	if _, err := keep.Load(s.file, &f); err != nil {
		return fmt.Errorf("read recovery times: %w", err)
	}
	if f.BootID == s.bootID {
		maps.Copy(s.Sessions, f.Sessions)
	}
	return nil
}

// add remembers sessions. What is remembered of one already is the older truth.
func (s *saved) add(all []hostage) error {
	more := maps.Clone(s.Sessions)
	for _, h := range all {
		if _, ok := more[h.ID]; !ok && h.RecoveryTimeout > 0 {
			more[h.ID] = recovery{Target: h.Target, Iface: h.Iface, NIC: h.NIC, Seconds: h.RecoveryTimeout}
		}
	}
	if len(more) == len(s.Sessions) {
		return nil
	}
	if err := s.write(more); err != nil {
		return err
	}
	s.Sessions = more
	return nil
}

// drop forgets sessions. A file that still has them does no harm: a recovery time that is not 0 is left alone.
func (s *saved) drop(ids []int) error {
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		delete(s.Sessions, id)
	}
	return s.write(s.Sessions)
}

func (s *saved) write(sessions map[int]recovery) error {
	if err := keep.Hand(s.file, savedFile{s.bootID, sessions}); err != nil {
		return fmt.Errorf("write recovery times: %w", err)
	}
	return nil
}

// restore gives sessions their recovery time back once they are logged in over a NIC with a link. It says when to look again.
func (w *Watcher) restore(ctx context.Context) (again time.Duration) {
	var settled []int
	for id, r := range w.saved.Sessions {
		switch ok, err := w.restored(id, r); {
		case err != nil:
			klog.FromContext(ctx).Error(err, "Restore the recovery time of a session", "session", id)
			again = retry
		case ok:
			settled = append(settled, id)
		case w.nics.up(r.NIC):
			again = retry
		}
	}
	if err := w.saved.drop(settled); err != nil {
		klog.FromContext(ctx).Error(err, "Forget restored recovery times")
	}
	return again
}

// restored says whether there is nothing to restore any more. multipathd may have written the time meanwhile: it is
// then what it should be.
func (w *Watcher) restored(id int, r recovery) (bool, error) {
	s, err := w.host.session(id)
	if errors.Is(err, sysfs.ErrGone) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if s.Target != r.Target || s.Iface != r.Iface || s.RecoveryTimeout != 0 {
		return true, nil
	}
	if !s.LoggedIn() || !w.nics.up(s.NIC) {
		return false, nil
	}
	err = w.host.setRecovery(id, r.Seconds)
	if isBusy(err) {
		return false, nil // lost again meanwhile
	}
	return err == nil, err
}
