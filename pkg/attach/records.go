package attach

import (
	"context"
	"errors"
	"sync"

	"github.com/portbind/portbind/pkg/iscsi"
)

// records are those of ours in open-iscsi's database. They may hold secrets, so none stays that nothing needs; and an iface record
// stays while a node record refers to it, since iscsid could not read that without.
type records struct {
	db Initiator
	// writing is held for reading from an iface record's writing to that of the node record which needs it.
	writing sync.RWMutex

	mu      sync.Mutex
	written map[iscsi.NodeID]iscsi.Node // by this process
}

func newRecords(db Initiator) *records {
	return &records{db: db, written: map[iscsi.NodeID]iscsi.Node{}}
}

// list gives the node records. Without open-iscsi there are none.
func (r *records) list(ctx context.Context) ([]iscsi.NodeID, error) {
	nodes, err := r.db.Nodes(ctx)
	if errors.Is(err, iscsi.ErrNotReady) {
		return nil, nil
	}
	return nodes, err
}

// write has the records say what n does.
func (r *records) write(ctx context.Context, n iscsi.Node) error {
	r.writing.RLock()
	defer r.writing.RUnlock()
	if err := r.db.EnsureIface(ctx, n.Iface); err != nil {
		return err
	}
	if err := r.db.EnsureNode(ctx, n); err != nil || n.KeepCHAP {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written[n.ID()] = n
	return nil
}

// lookUp gives what this process wrote last.
func (r *records) lookUp(id iscsi.NodeID) (iscsi.Node, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.written[id]
	return n, ok
}

// has says that this process has written these very records: what became of them since is for Heal to look at.
func (r *records) has(n iscsi.Node) bool {
	w, ok := r.lookUp(n.ID())
	if !ok || (w.CHAP == nil) != (n.CHAP == nil) || (n.CHAP != nil && *w.CHAP != *n.CHAP) {
		return false
	}
	w.CHAP, n.CHAP = nil, nil
	return w == n
}

// recall gives n the secrets that the attach had: of this process, or of one before it, from the record itself. Where the
// interface is new to the target, from that of another one: a target knows an initiator, not its interfaces.
func (r *records) recall(ctx context.Context, n *iscsi.Node) error {
	if w, ok := r.lookUp(n.ID()); ok {
		n.CHAP = w.CHAP
		return nil
	}
	nodes, err := r.db.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, other := range nodes {
		if other == n.ID() {
			n.KeepCHAP = true
			return nil
		}
	}
	for _, other := range nodes {
		if other.Target != n.Target {
			continue
		}
		n.CHAP, err = r.db.RecordedCHAP(ctx, other)
		if n.CHAP != nil {
			return nil
		}
		if err != nil && !errors.Is(err, iscsi.ErrNoRecord) {
			return err
		}
	}
	n.KeepCHAP = true
	return nil
}

// remove removes the node records that are needless, and the iface records, of theirs and of others, that no node record needs then.
func (r *records) remove(ctx context.Context, needless func(iscsi.NodeID) bool, others ...string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	nodes, err := r.db.Nodes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	needed, unneeded := map[string]bool{}, map[string]bool{}
	for _, n := range nodes {
		if !needless(n) {
			needed[n.Interface] = true
			continue
		}
		if err := r.db.RemoveNode(ctx, n); err != nil {
			errs = append(errs, err)
			needed[n.Interface] = true
			continue
		}
		r.forget(n)
		unneeded[n.Interface] = true
	}
	for _, name := range others {
		unneeded[name] = true
	}
	for name := range unneeded {
		if !needed[name] {
			errs = append(errs, r.db.RemoveIface(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func (r *records) forget(id iscsi.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.written, id)
}
