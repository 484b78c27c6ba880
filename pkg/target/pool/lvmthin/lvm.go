package lvmthin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/target/pool"
)

// changeTimeout bounds one LVM command that changes something. Far above what any takes: it is there so that a
// host whose disks hang is noticed.
const changeTimeout = 5 * time.Minute

// lvm runs LVM's commands for one volume group.
type lvm struct {
	runner hostexec.Runner
	vg     string
}

// read runs a command that changes nothing.
func (l lvm) read(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := l.runner.Run(ctx, nil, name, args...)
	return out, classify(err)
}

// change runs a command that changes something. It outlives ctx: an LVM command that is killed between the
// suspend and the resume of a device leaves it suspended, and whoever writes to it hanging.
func (l lvm) change(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	_, err := l.runner.Run(ctx, nil, name, args...)
	return classify(err)
}

func (l lvm) path(lvName string) string { return l.vg + "/" + lvName }

// report asks lvs for fields of the whole group, or of one LV.
func (l lvm) report(ctx context.Context, what, fields string) ([]byte, error) {
	return l.read(ctx, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, what)
}

// create makes an LV in one transaction, its tags included. It is left inactive and is activated when it is
// published: a host with thousands of volumes boots with none of them active, and udev, blkid and md look at none.
func (l lvm) create(ctx context.Context, v lv, args ...string) error {
	args = append([]string{"-q", "-q", "--yes", "-an", "-ky", "-n", v.lv}, args...)
	for _, tag := range v.tags() {
		args = append(args, "--addtag", tag)
	}
	return l.change(ctx, "lvcreate", args...)
}

func (l lvm) createThin(ctx context.Context, v lv, thinPool string, size int64) error {
	return l.create(ctx, v, "-V", fmt.Sprintf("%db", size), "--thinpool", l.path(thinPool))
}

func (l lvm) createFrom(ctx context.Context, v lv, origin string) error {
	return l.create(ctx, v, "-s", l.path(origin))
}

func (l lvm) extend(ctx context.Context, lvName string, size int64) error {
	return l.change(ctx, "lvextend", "-q", "-q", "-L", fmt.Sprintf("%db", size), l.path(lvName))
}

// remove asks LVM to look at the tag once more, in case the LV was replaced behind our back.
func (l lvm) remove(ctx context.Context, lvName string) error {
	return l.change(ctx, "lvremove", "-q", "-q", "-f", "-S", "lv_tags={"+ours+"}", l.path(lvName))
}

func (l lvm) lvchange(ctx context.Context, lvName string, args ...string) error {
	return l.change(ctx, "lvchange", slices.Concat([]string{"-q", "-q"}, args, []string{l.path(lvName)})...)
}

// activate makes devices. -K: our LVs are flagged to be skipped when whole groups are activated.
func (l lvm) activate(ctx context.Context, lvNames []string) error {
	return l.change(ctx, "lvchange", append([]string{"-q", "-q", "-ay", "-K"}, l.paths(lvNames)...)...)
}

func (l lvm) deactivate(ctx context.Context, lvNames []string) error {
	return l.change(ctx, "lvchange", append([]string{"-q", "-q", "-an"}, l.paths(lvNames)...)...)
}

func (l lvm) paths(lvNames []string) []string {
	paths := make([]string, len(lvNames))
	for i, name := range lvNames {
		paths[i] = l.path(name)
	}
	return paths
}

// said maps what LVM prints to a sentinel; its exit status is 5 for everything.
var said = []struct {
	text string
	err  error
}{
	{"reached threshold", pool.ErrExhausted},
	{"nsufficient free space", pool.ErrExhausted},
	{"metadata too large", pool.ErrExhausted},
	{"VG metadata too big", pool.ErrExhausted},
	{"needs repair", pool.ErrExhausted},
	{"already exists in volume group", pool.ErrExists},
	{"ailed to find logical volume", pool.ErrNotFound},
	{"not found in volume group", pool.ErrNotFound},
	{"not found in Volume group", pool.ErrNotFound},
	{" in use.", pool.ErrInUse},
	{"is used by another device", pool.ErrInUse},
}

// classify finds the sentinel that an LVM failure stands for.
func classify(err error) error {
	var e *hostexec.Error
	if !errors.As(err, &e) {
		return err
	}
	if hint := hostexec.MissingHint(err); hint != "" {
		return fmt.Errorf("%s: %w", hint, err)
	}
	for _, s := range said {
		if strings.Contains(e.Stderr, s.text) {
			return fmt.Errorf("%w: %w", s.err, err)
		}
	}
	return err
}
