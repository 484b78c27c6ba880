package compliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/keep"
)

// Keeper sets what the kernel needs on NICs that share a subnet, and puts back what was there when a NIC is no interface any
// more. It remembers that in a file, written before the kernel is: no crash leaves a setting that nobody knows of.
type Keeper struct {
	// Proc is where procfs is.
	Proc string
	// File is what it remembers; BootID says of which boot. A reboot puts everything back by itself.
	File, BootID string
	// Manage says whether anything is to be set; otherwise what was set is put back.
	Manage bool
}

// ledger is what the file has.
type ledger struct {
	BootID   string    `json:"bootID"`
	Settings []setting `json:"settings"`
}

// setting is one value of one NIC. The NIC is known by its index: it may be renamed, and another may get its name.
type setting struct {
	Index  int    `json:"index"`
	Key    string `json:"key"`
	Before int    `json:"before"`
	Set    int    `json:"set"`
}

// need is a value that a NIC must have.
type need struct {
	key string
	set int
	// met says whether what is in force, the larger of all NICs' and its own, will do.
	met func(int) bool
}

// needs are those of an interface that shares a subnet with others. arp_filter is left alone where it does no harm.
func (s Snapshot) needs(i binding.Interface, neighbours []neighbour) []need {
	all := []need{
		{"rp_filter", 2, func(v int) bool { return v != 1 }},
		{"arp_ignore", 1, func(v int) bool { return v == 1 || v == 2 }},
		{"arp_announce", 2, func(v int) bool { return v == 2 }},
	}
	if s.silenced(i, neighbours) != nil {
		all = append(all, need{"arp_filter", 0, func(v int) bool { return v == 0 }})
	}
	return all
}

// Apply puts back what is not needed any more, and sets what is. It says whether it has changed anything.
func (k *Keeper) Apply(ctx context.Context, s Snapshot) (changed bool, err error) {
	var known ledger
	if _, err := keep.Load(k.File, &known); err != nil {
		return false, fmt.Errorf("what was set in the kernel: %w", err)
	}
	if known.BootID != k.BootID {
		known = ledger{BootID: k.BootID}
	}
	restored, err := k.restore(ctx, s, &known)
	if !k.Manage {
		return restored, err
	}
	set, setErr := k.set(ctx, s, &known)
	return restored || set, errors.Join(err, setErr)
}

// restore puts back the settings of NICs that are no interfaces. What somebody else has changed since is left to them.
func (k *Keeper) restore(ctx context.Context, s Snapshot, known *ledger) (changed bool, err error) {
	var kept []setting
	var errs []error
	for _, x := range known.Settings {
		nic := s.nameOf(x.Index)
		if k.Manage && s.bound(nic) {
			kept = append(kept, x)
			continue
		}
		if nic == "" {
			continue
		}
		if err := k.putBack(ctx, nic, x); err != nil {
			kept = append(kept, x)
			errs = append(errs, err)
		}
	}
	if len(kept) == len(known.Settings) {
		return false, errors.Join(errs...)
	}
	known.Settings = kept
	return true, errors.Join(append(errs, k.save(*known))...)
}

func (k *Keeper) putBack(ctx context.Context, nic string, x setting) error {
	now, err := readSysctl(k.Proc, nic, x.Key)
	if err != nil || now != x.Set {
		return ignoreGone(err)
	}
	klog.FromContext(ctx).Info("Sysctl put back", "sysctl", sysctlName(nic, x.Key), "value", x.Before)
	return k.write(nic, x.Key, x.Before)
}

// set makes what is needed so, and remembers what was there before it does.
func (k *Keeper) set(ctx context.Context, s Snapshot, known *ledger) (changed bool, err error) {
	var todo []func() error
	var errs []error
	before := len(known.Settings)
	for _, i := range s.Interfaces.Interfaces {
		nic, there := s.nic(i.NIC)
		neighbours := s.neighbours(i)
		if !there || len(neighbours) == 0 {
			continue
		}
		for _, n := range s.needs(i, neighbours) {
			own, all, err := k.read(nic.Name, n.key)
			if err != nil {
				errs = append(errs, ignoreGone(err))
				continue
			}
			if n.met(max(own, all)) || own == n.set {
				continue
			}
			known.add(setting{Index: nic.Index, Key: n.key, Before: own, Set: n.set})
			todo = append(todo, func() error {
				klog.FromContext(ctx).Info("Sysctl set", "sysctl", sysctlName(nic.Name, n.key), "value", n.set, "before", own)
				return k.write(nic.Name, n.key, n.set)
			})
		}
	}
	if len(known.Settings) > before {
		if err := k.save(*known); err != nil {
			return false, errors.Join(append(errs, err)...)
		}
	}
	for _, write := range todo {
		errs = append(errs, write())
	}
	return len(todo) > 0, errors.Join(errs...)
}

// add remembers a setting, unless an older one says what was there first.
func (l *ledger) add(x setting) {
	if !slices.ContainsFunc(l.Settings, func(y setting) bool { return y.Index == x.Index && y.Key == x.Key }) {
		l.Settings = append(l.Settings, x)
	}
}

func (k *Keeper) save(known ledger) error {
	if len(known.Settings) == 0 {
		return keep.Remove(k.File)
	}
	return keep.Save(k.File, known)
}

// read gives a NIC's own value and that of all.
func (k *Keeper) read(nic, key string) (own, all int, err error) {
	own, err = readSysctl(k.Proc, nic, key)
	if err != nil {
		return 0, 0, err
	}
	all, err = readSysctl(k.Proc, "all", key)
	return own, all, err
}

func (k *Keeper) write(nic, key string, value int) error {
	// Not os.WriteFile, which would make the file of a NIC that has gone, in a test's tree.
	file, err := os.OpenFile(sysctlPath(k.Proc, nic, key), os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", sysctlName(nic, key), err)
	}
	_, err = file.WriteString(strconv.Itoa(value))
	return errors.Join(err, file.Close())
}

// nameOf gives the name that the NIC of an index has now; empty when it is gone.
func (s Snapshot) nameOf(index int) string {
	for _, n := range s.Interfaces.NICs {
		if n.Index == index {
			return n.Name
		}
	}
	return ""
}

// bound says that a NIC is an interface.
func (s Snapshot) bound(nic string) bool {
	for _, i := range s.Interfaces.Interfaces {
		if i.NIC == nic {
			return true
		}
	}
	return false
}
