package lio

import (
	"context"
	"fmt"

	"k8s.io/klog/v2"
)

// Sweep removes all that is ours and not in the given mappings: what a crash, or a database from a backup, has left
// over. It fences as Unmap does.
func (t *Target) Sweep(ctx context.Context, keep []Mapping) error {
	s := sweep{Target: t, tpgLUNs: map[uint32]bool{}, mapped: map[string]bool{}, volumes: map[string]bool{}}
	for _, m := range keep {
		s.tpgLUNs[m.TPGLUN] = true
		s.mapped[t.mappedLUN(m.Initiator, m.LUN)] = true
		s.volumes[m.Volume] = true
	}
	for _, step := range []func(context.Context) error{s.acls, s.luns, s.backstores} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("remove what is left over: %w", err)
		}
	}
	return nil
}

type sweep struct {
	*Target
	tpgLUNs map[uint32]bool
	mapped  map[string]bool
	volumes map[string]bool
}

func (s sweep) acls(ctx context.Context) error {
	initiators, err := s.Initiators()
	if err != nil {
		return err
	}
	for _, initiator := range initiators {
		numbers, err := s.Target.luns(s.acl(initiator))
		if err != nil {
			return err
		}
		for _, n := range numbers {
			dir := s.mappedLUN(initiator, n)
			if s.mapped[dir] {
				continue
			}
			klog.FromContext(ctx).Info("Removing a mapping that is not recorded", "initiator", initiator, "lun", n)
			if err := s.disconnect(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s sweep) luns(ctx context.Context) error {
	numbers, err := s.Target.luns(s.tpg + "/lun")
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if s.tpgLUNs[n] {
			continue
		}
		klog.FromContext(ctx).Info("Removing a LUN that is not recorded", "lun", n)
		if err := s.disconnect(s.tpgLUN(n)); err != nil {
			return err
		}
	}
	return nil
}

func (s sweep) backstores(ctx context.Context) error {
	names, err := s.tree.Dirs(hba)
	if err != nil {
		return err
	}
	for _, name := range names {
		if s.volumes[name] {
			continue
		}
		klog.FromContext(ctx).Info("Removing a backstore that is not recorded", "volume", name)
		if err := s.RemoveVolume(name); err != nil {
			return err
		}
	}
	return nil
}

// Retire removes a target that was ours under another name and has no LUNs.
func (t *Target) Retire(ctx context.Context, iqn string) error {
	old := New(t.tree, Config{IQN: iqn})
	there, err := old.Exists()
	if err != nil || !there {
		return err
	}
	if err := old.Sweep(ctx, nil); err != nil {
		return err
	}
	for _, dir := range []string{old.tpg + "/acls", old.tpg + "/np"} {
		names, err := t.tree.Dirs(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := t.tree.Rmdir(dir + "/" + name); err != nil {
				return fmt.Errorf("remove target %s: %w", iqn, err)
			}
		}
	}
	for _, dir := range []string{old.tpg, "iscsi/" + iqn} {
		if err := t.tree.Rmdir(dir); err != nil {
			return fmt.Errorf("remove target %s: %w", iqn, err)
		}
	}
	return nil
}
