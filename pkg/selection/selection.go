// Package selection says which entries of the configuration hold on this node, where that depends on its labels or its
// annotation in Kubernetes. Both are remembered: a plugin that starts while the API server is away has what it had.
package selection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/keep"
)

// Annotation of a node has entries of its own, a YAML or JSON list as in the configuration.
const Annotation = "iscsi.portbind.io/interfaces"

// Facts are what Kubernetes knows of a node, as far as it matters here.
type Facts struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (f Facts) equal(g Facts) bool {
	return maps.Equal(f.Labels, g.Labels) && maps.Equal(f.Annotations, g.Annotations)
}

// Options configure a Source.
type Options struct {
	// Base is the configuration of all nodes.
	Base binding.Config
	// Annotated says that the node's annotation counts.
	Annotated bool
	// Node reads this node. Nil: nothing depends on it.
	Node func(ctx context.Context) (Facts, error)
	// Follow calls told with what this node is, at first and soon after each change of it, until ctx ends.
	Follow func(ctx context.Context, told func(Facts))
	// File remembers what was read last.
	File string
}

// Source is the configuration of this node.
type Source struct {
	options Options

	facts Facts // of Open, and then of Run

	mu  sync.Mutex
	now binding.Config
}

// Open reads the node once; when that fails, what is remembered must do.
func Open(ctx context.Context, o Options) (*Source, error) {
	s := &Source{options: o, now: o.Base}
	if o.Node == nil {
		return s, nil
	}
	facts, err := o.Node(ctx)
	if err != nil {
		var remembered Facts
		if found, fileErr := keep.Load(o.File, &remembered); !found {
			return nil, fmt.Errorf("read this node, on which its interfaces depend: %w", errors.Join(err, fileErr))
		}
		klog.FromContext(ctx).Error(err, "This node cannot be read: its interfaces are those that it had last")
		s.apply(ctx, remembered)
		return s, nil
	}
	s.apply(ctx, s.relevant(facts))
	return s, keep.Save(o.File, s.facts)
}

// Config is the configuration of the moment.
func (s *Source) Config() binding.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Resolve looks which NICs the interfaces are now.
func (s *Source) Resolve() (binding.Resolution, error) {
	c := s.Config()
	nics, err := c.NICs()
	return binding.Resolve(c, nics), err
}

// Run follows the node until ctx ends, and calls changed when its interfaces are others. While the API server is away they stay.
func (s *Source) Run(ctx context.Context, changed func()) {
	if s.options.Node == nil {
		return
	}
	s.options.Follow(ctx, func(facts Facts) {
		if s.update(ctx, facts) {
			changed()
		}
	})
}

// update says whether the configuration is another one.
func (s *Source) update(ctx context.Context, facts Facts) bool {
	if facts = s.relevant(facts); facts.equal(s.facts) {
		return false
	}
	changed := s.apply(ctx, facts)
	if err := keep.Save(s.options.File, facts); err != nil {
		klog.FromContext(ctx).Error(err, "What was read of this node is not remembered")
	}
	return changed
}

// relevant leaves out what nothing depends on: most changes of a node are of that kind.
func (s *Source) relevant(all Facts) Facts {
	some := Facts{Labels: map[string]string{}, Annotations: map[string]string{}}
	for _, i := range s.options.Base.Interfaces {
		for key := range i.NodeSelector {
			if value, there := all.Labels[key]; there {
				some.Labels[key] = value
			}
		}
	}
	if value, there := all.Annotations[Annotation]; there && s.options.Annotated {
		some.Annotations[Annotation] = value
	}
	return some
}

// apply makes the configuration of facts. An annotation that is wrong changes nothing: volumes are in use.
func (s *Source) apply(ctx context.Context, facts Facts) (changed bool) {
	logger := klog.FromContext(ctx)
	c := s.options.Base.On(facts.Labels)
	if list, there := facts.Annotations[Annotation]; there {
		own, err := c.Override(list)
		if err != nil {
			logger.Error(err, "The node's annotation is not used", "annotation", Annotation)
		}
		c = own
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = !reflect.DeepEqual(c, s.now)
	s.facts, s.now = facts, c
	if changed {
		logger.Info("The interfaces of this node", "entries", c.Interfaces)
	}
	return changed
}
