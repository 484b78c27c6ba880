package attach

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
)

// matrix gives the bound sessions that an attach of spec makes. Everything wrong with it is the request's fault: ErrInvalid; but
// ErrTooFewPaths when drained interfaces leave fewer pairs than it must have.
func (a *Attacher) matrix(spec Spec) ([]binding.Pair, error) {
	res, err := a.cfg.Interfaces()
	if err != nil {
		return nil, err
	}
	ifaces, err := interfaces(res, spec.Interfaces)
	if err != nil {
		return nil, err
	}
	pairs, err := binding.Matrix(ifaces, spec.Portals, spec.Pairing)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if spec.MinPaths > len(pairs) {
		return nil, fmt.Errorf("%w: minPaths is %d, but %d interfaces and %d portals make %d paths (pairing %s)",
			ErrInvalid, spec.MinPaths, len(ifaces), len(spec.Portals), len(pairs), spec.Pairing)
	}
	usable := undrained(pairs, res)
	if len(usable) < max(1, spec.MinPaths) {
		return nil, fmt.Errorf("%w: %d of %d are left without what is drained on this node (%s)",
			ErrTooFewPaths, len(usable), len(pairs), strings.Join(res.Drained, ", "))
	}
	return usable, nil
}

// interfaces gives those of the names; without names all that this node has.
func interfaces(res binding.Resolution, names []string) ([]binding.Interface, error) {
	if len(names) == 0 {
		return res.Interfaces, nil
	}
	ifaces, err := res.Select(names)
	if errors.Is(err, binding.ErrUnknownInterface) {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return ifaces, nil
}

func undrained(pairs []binding.Pair, res binding.Resolution) []binding.Pair {
	return slices.DeleteFunc(pairs, func(p binding.Pair) bool { return res.IsDrained(p.Interface.Name) })
}

// wanted gives the bound sessions that an attached volume should have: those that can be, whatever became of its interfaces since
// its attach. The error tells of interfaces without a NIC; that one is not configured any more is for others to tell.
func wanted(spec Spec, res binding.Resolution) ([]binding.Pair, error) {
	names := slices.DeleteFunc(slices.Clone(spec.Interfaces), func(name string) bool { return !res.Names(name) })
	ifaces, missing := res.Interfaces, error(nil)
	if len(spec.Interfaces) > 0 {
		ifaces, missing = res.Select(names)
	}
	pairs, err := binding.Matrix(ifaces, spec.Portals, spec.Pairing)
	if len(ifaces) == 0 {
		err = nil // missing says it
	}
	return undrained(pairs, res), errors.Join(missing, err)
}
