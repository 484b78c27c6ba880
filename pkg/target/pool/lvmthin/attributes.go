package lvmthin

import (
	"context"
	"maps"
	"slices"

	"github.com/portbind/portbind/pkg/target/pool"
)

// SetAttributes implements pool.Driver.
func (p *Pool) SetAttributes(ctx context.Context, name string, attributes map[string]string) (pool.Volume, error) {
	v, err := retried(func() (lv, error) {
		return p.change(ctx, name, func(_ listing, v lv) (lv, error) { return p.attribute(ctx, v, attributes) })
	})
	if err != nil {
		return pool.Volume{}, p.wrap("modify volume "+name, err)
	}
	return v.volume(), nil
}

// attribute changes the tags that differ, in one command. The caller holds the group's lock.
func (p *Pool) attribute(ctx context.Context, v lv, attributes map[string]string) (lv, error) {
	have, want := attributeTags(v.attributes), attributeTags(attributes)
	var args []string
	for _, tag := range have {
		if !slices.Contains(want, tag) {
			args = append(args, "--deltag", tag)
		}
	}
	for _, tag := range want {
		if !slices.Contains(have, tag) {
			args = append(args, "--addtag", tag)
		}
	}
	if len(args) == 0 {
		return v, nil
	}
	v.attributes = maps.Clone(attributes)
	err := p.group.lvm.lvchange(ctx, v.lv, args...)
	return v, p.group.noted(err, v.lv, &v)
}
