// Package nodeid sees to it that no two nodes of the cluster have one initiator name. The name is a node's CSI id. The target knows nodes
// by it alone: a volume that it maps to one of two with the same name is the other's to write, too, and each ends the other's sessions.
package nodeid

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// interval is between two looks at a name that is our own, sooner between two at one that is not.
	interval = 5 * time.Minute
	sooner   = 30 * time.Second

	// Duplicate is the reason of an event that tells of another node.
	Duplicate = "DuplicateInitiator"
	// Unique is the reason of one that tells that there is none any more.
	Unique = "InitiatorUnique"
)

var (
	// ErrTaken says that another node has the name.
	ErrTaken = errors.New("the initiator's name is another node's")
	// ErrUnknown says that it could not be found out.
	ErrUnknown = errors.New("it is not known whether another node has the initiator's name")
	// ErrRenamed says that this node has been given another name: this process has to be started again.
	ErrRenamed = errors.New("the initiator's name has changed")
)

// Cluster is what is needed of the API server; *kube.Client is one.
type Cluster interface {
	// Announcers names the nodes that have that id for that driver.
	Announcers(ctx context.Context, driver, id string) ([]string, error)
	// Exists says whether there is a node of that name.
	Exists(ctx context.Context, node string) (bool, error)
}

// Config is what a Guard needs.
type Config struct {
	Cluster Cluster
	// Barred says of an error that asking again would not help: then nothing is refused.
	Barred func(error) bool
	// Driver is the CSI driver's name, Node this node's, Initiator the name that its sessions have.
	Driver, Node, Initiator string
	// Current gives the initiator's name as it is configured now.
	Current func() (string, error)
	// Used says whether there are volumes on this node: who has some is not refused, or nobody could take them away.
	Used func() bool
	// Tell has an Event on the node written; nil: none.
	Tell func(warning bool, reason, message string)
}

// Guard looks who else has this node's name. Safe for concurrent use.
type Guard struct {
	Config

	mu sync.Mutex
	// said is what was told last of other nodes, "" when it was nothing; barred that we may not ask.
	said   string
	barred bool
	// tick gives the time between two looks; tests have their own.
	tick func(time.Duration) <-chan time.Time
}

// New makes a Guard.
func New(c Config) *Guard { return &Guard{Config: c, tick: time.After} }

// Check refuses a name that another node has (ErrTaken), unless there are volumes here, and one of which that cannot be found out now
// (ErrUnknown).
func (g *Guard) Check(ctx context.Context) error {
	err := g.look(ctx)
	if errors.Is(err, ErrTaken) && g.Used() {
		return nil
	}
	return err
}

// Run looks now and then, and tells of what changes, until ctx ends; then it returns nil. It returns ErrRenamed when the name was
// another node's and this node has got a new one.
func (g *Guard) Run(ctx context.Context) error {
	for {
		err := g.look(ctx)
		wait := interval
		if err != nil {
			wait = sooner
		}
		if errors.Is(err, ErrTaken) {
			if name, err := g.Current(); err == nil && name != g.Initiator {
				return fmt.Errorf("%w: it was %s, and is %s", ErrRenamed, g.Initiator, name)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.tick(wait):
		}
	}
}

func (g *Guard) look(ctx context.Context) error {
	others, err := Others(ctx, g.Cluster, g.Driver, g.Initiator, g.Node)
	if err != nil {
		if g.Barred(err) {
			g.bar(ctx, err)
			return nil
		}
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	message := ""
	if len(others) > 0 {
		message = fmt.Sprintf("%s has the initiator name of this node, %s: the target cannot tell them apart. Give each node its own, in "+
			"/etc/iscsi/initiatorname.iscsi (iscsi-iname makes one), or set initiatorName to auto", strings.Join(others, ", "), g.Initiator)
	}
	g.tell(ctx, message)
	if message != "" {
		return fmt.Errorf("%w: node %s", ErrTaken, message)
	}
	return nil
}

// Others are the nodes that have an id as well as this one and are still there: a CSINode object may outlive its node for a while.
func Others(ctx context.Context, c Cluster, driver, id, node string) (names []string, err error) {
	all, err := c.Announcers(ctx, driver, id)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if name == node {
			continue
		}
		exists, err := c.Exists(ctx, name)
		if err != nil {
			return nil, err
		}
		if exists {
			names = append(names, name)
		}
	}
	return names, nil
}

// tell logs what is new, and has it written as an event.
func (g *Guard) tell(ctx context.Context, message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if message == g.said {
		return
	}
	g.said = message
	log := klog.FromContext(ctx)
	warning, reason := true, Duplicate
	if message == "" {
		warning, reason, message = false, Unique, "No other node has the initiator name "+g.Initiator+" any more"
		log.Info(message)
	} else {
		message = "Node " + message
		log.Error(ErrTaken, "This node is not registered while it has no volumes", "reason", message)
	}
	if g.Tell != nil {
		g.Tell(warning, reason, message)
	}
}

// bar says once that we may not ask.
func (g *Guard) bar(ctx context.Context, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.barred {
		g.barred = true
		klog.FromContext(ctx).Info("Whether another node has this one's initiator name is not looked at", "reason", err.Error())
	}
}
