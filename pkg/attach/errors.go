package attach

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
)

// What can go wrong, for errors.Is. The text around them says what, where, and what to do.
var (
	// ErrNotReady: a program, daemon or kernel module of this node is missing; the message names the package.
	ErrNotReady = errors.New("node is not ready")
	// ErrInvalid: the Spec cannot be met by any network: unknown interface, more MinPaths than pairs.
	ErrInvalid = errors.New("invalid request")
	// ErrAuth: the target refused our CHAP name or secret, or could not prove its own.
	ErrAuth = iscsi.ErrAuth
	// ErrTooFewPaths: fewer than MinPaths could be had; see *PathsError.
	ErrTooFewPaths = errors.New("too few paths")
	// ErrWWIDMismatch: another logical unit is at this LUN number, or the paths do not agree.
	ErrWWIDMismatch = errors.New("WWID mismatch")
	// ErrSizeMismatch: paths report different sizes, or not yet the wanted one. A retry may find them agreed.
	ErrSizeMismatch = errors.New("size mismatch")
	// ErrInUse: the map is mounted, held open, or another map is built on it.
	ErrInUse = errors.New("in use")
	// ErrForeign: something that is not ours has the disks: another map, LVM, a mount.
	ErrForeign = errors.New("disks are used by something else")
	// ErrNotFound: the volume is not attached.
	ErrNotFound = errors.New("not attached")
)

// Error says which verb failed on which volume.
type Error struct {
	Op, WWID string
	Err      error
}

// Error gives one line.
func (e *Error) Error() string {
	if e.WWID == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.WWID + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// PairError says why one bound session, or the path in it, could not be had.
type PairError struct {
	Pair binding.Pair
	Err  error
}

// Error gives "san-a (eth2) to 192.0.2.1:3260: reason".
func (e *PairError) Error() string {
	return e.name() + ": " + e.Err.Error()
}

func (e *PairError) name() string {
	return pairName(e.Pair.Interface.Name, e.Pair.Interface.NIC, e.Pair.Portal)
}

// Unwrap returns the cause.
func (e *PairError) Unwrap() error { return e.Err }

func pairName(iface, nic string, portal netip.AddrPort) string {
	return fmt.Sprintf("%s (%s) to %s", iface, nic, portal)
}

// PathsError is ErrTooFewPaths with what failed, pair by pair.
type PathsError struct {
	Have, Want int
	Pairs      []*PairError
}

// Error lists every pair that failed; those that did for the same reason together. The order is theirs, not that in which they
// failed: Kubernetes counts Events with the same text as one.
func (e *PathsError) Error() string {
	var reasons []string
	pairs := map[string][]string{}
	byName := func(p, q *PairError) int { return strings.Compare(p.name(), q.name()) }
	for _, p := range slices.SortedFunc(slices.Values(e.Pairs), byName) {
		why := p.Err.Error()
		if pairs[why] == nil {
			reasons = append(reasons, why)
		}
		pairs[why] = append(pairs[why], p.name())
	}
	text := []string{fmt.Sprintf("%v: have %d of %d wanted", ErrTooFewPaths, e.Have, e.Want)}
	for _, why := range reasons {
		text = append(text, strings.Join(pairs[why], ", ")+": "+why)
	}
	return strings.Join(text, "; ")
}

// Unwrap gives ErrTooFewPaths and the causes; a CHAP failure among them is ErrAuth.
func (e *PathsError) Unwrap() []error {
	all := []error{ErrTooFewPaths}
	for _, p := range e.Pairs {
		all = append(all, p)
	}
	return all
}
