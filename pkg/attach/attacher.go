package attach

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/keylock"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/pkg/udevd"
)

// Initiator is what attach needs of open-iscsi; *iscsi.Client does it.
type Initiator interface {
	Ready(ctx context.Context) error
	EnsureIface(ctx context.Context, i iscsi.Iface) error
	EnsureNode(ctx context.Context, n iscsi.Node) error
	KeepTimers(ctx context.Context, id iscsi.NodeID, t iscsi.Timers) error
	KeepNoop(ctx context.Context, session int, t iscsi.Timers) (changed bool, err error)
	RecordedCHAP(ctx context.Context, id iscsi.NodeID) (*iscsi.CHAP, error)
	Nodes(ctx context.Context) ([]iscsi.NodeID, error)
	Login(ctx context.Context, id iscsi.NodeID) error
	Logout(ctx context.Context, session int, id iscsi.NodeID) error
	RemoveNode(ctx context.Context, id iscsi.NodeID) error
	RemoveIface(ctx context.Context, iface string) error
}

// Config says what an Attacher works with. Only ISCSI and Interfaces have no default.
type Config struct {
	ISCSI Initiator
	// Interfaces resolves the node's interfaces to NICs, as they are now.
	Interfaces func() (binding.Resolution, error)
	// Files runs fn with the host's files in view (/etc/multipath, /run/udev); nil where they are ours.
	Files func(fn func() error) error

	Sys        sysfs.FS
	Dev        string
	Multipathd *multipath.Client
	WWIDs      multipath.WWIDs
	// ConfigFile is multipathd's, for Policy.
	ConfigFile string
	Policy     multipath.Policy
	Timers     iscsi.Timers
	// Grace is how long a session without a disk stays, in case that the next volume needs it. 0 is 60 s.
	Grace time.Duration
	// Healed is told of each path that Heal has brought into a map; nil: nobody is.
	Healed func(binding.Pair)
	// Returned is told when a session that was lost is back, or a portal answers that was silent, and must not wait: volumes that were
	// attached meanwhile lack its paths. nil: nobody is.
	Returned func()
}

// DefaultGrace is how long a session without disks stays.
const DefaultGrace = 60 * time.Second

// Attacher attaches and detaches volumes. Its truth is the kernel: a new one takes over from one that was killed at
// any point. Calls for one volume wait for each other; calls for different volumes run concurrently.
type Attacher struct {
	cfg     Config
	sys     sysfs.FS
	dm      *multipath.DM
	mpd     *multipath.Client
	changes *sysfs.Monitor
	udev    *udevd.Listener

	volumes  keylock.Mutexes // by WWID
	sessions keylock.Mutexes // by session that is to be made
	scans    keylock.Mutexes // by SCSI host
	targets  keylock.Shares  // by target: attaches in flight against logouts
	records  *records
	loose    loose
	timing   timing

	setup    keylock.Mutexes // one, for prepared
	prepared bool

	rules       multipath.RuleFiles
	configuring keylock.Mutexes // one, for multipathd's reading
	ruling      sync.Mutex      // over the files of rules, ruled and loaded
	ruled       int             // how many changes of rules there were
	loaded      int             // how many of them multipathd has read

	mu       sync.Mutex
	adopting map[string]*adoption  // by dm uuid
	leaving  map[string]*departure // by dm uuid
	contacts map[iscsi.NodeID]contact
	awaited  map[iscsi.NodeID]string // portals that healing found silent, with the NIC that their session is to have
	idle     map[int]time.Time       // since when a session has had no disk
	closing  map[int]bool            // sessions that are being logged out, since they are to carry nothing any more

	adopters chan struct{}
	logins   singleflight.Group

	life context.Context //nolint:containedctx // of the goroutines that outlive a call; ended by Close
	end  context.CancelFunc
	work sync.WaitGroup
}

// New returns an Attacher; ctx carries its logger and ends its background work, as Close does.
func New(ctx context.Context, cfg Config) (*Attacher, error) {
	if cfg.ISCSI == nil || cfg.Interfaces == nil {
		return nil, errors.New("attach: ISCSI and Interfaces are required")
	}
	setDefaults(&cfg)
	changes, err := sysfs.NewMonitor()
	if err != nil {
		klog.FromContext(ctx).Info("No uevents from the kernel, polling instead", "reason", err.Error())
	}
	a := &Attacher{
		cfg: cfg, sys: cfg.Sys, dm: multipath.NewDM(cfg.Dev), mpd: cfg.Multipathd, changes: changes,
		adopting: map[string]*adoption{}, leaving: map[string]*departure{},
		records:  newRecords(cfg.ISCSI),
		contacts: map[iscsi.NodeID]contact{}, awaited: map[iscsi.NodeID]string{}, idle: map[int]time.Time{}, closing: map[int]bool{},
		adopters: make(chan struct{}, adoptWidth),
		rules:    multipath.RuleFiles{ConfigFile: cfg.ConfigFile},
	}
	a.life, a.end = context.WithCancel(ctx)
	if a.udev, err = udevd.Listen(); err != nil {
		klog.FromContext(ctx).Info("No events from udevd, waiting by the clock instead", "reason", err.Error())
	}
	handled := a.loose.add() // what happened before we listened
	a.background(func(ctx context.Context) {
		defer handled()
		udevd.Settle(ctx, a.cfg.Files)
	})
	a.background(a.logoutIdle)
	a.background(a.watchReturns)
	a.background(a.watchSilent)
	a.background(a.watchTaken)
	return a, nil
}

func setDefaults(cfg *Config) {
	if cfg.Sys == "" {
		cfg.Sys = sysfs.Default
	}
	if cfg.Dev == "" {
		cfg.Dev = "/dev"
	}
	if cfg.Multipathd == nil {
		cfg.Multipathd = multipath.NewClient()
	}
	if cfg.WWIDs.File == "" {
		cfg.WWIDs = multipath.HostWWIDs()
	}
	if cfg.ConfigFile == "" {
		cfg.ConfigFile = multipath.ConfigFile
	}
	if cfg.Policy == (multipath.Policy{}) {
		cfg.Policy = multipath.DefaultPolicy()
	}
	if cfg.Timers == (iscsi.Timers{}) {
		cfg.Timers = iscsi.FastTimers()
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Files == nil {
		cfg.Files = func(fn func() error) error { return fn() }
	}
}

// Close ends the background work and waits for it. Maps and sessions stay as they are.
func (a *Attacher) Close() {
	a.end()
	a.work.Wait()
	a.changes.Close()
	a.udev.Close()
}

// background runs fn until it returns; it must do so when its context, the Attacher's, ends.
func (a *Attacher) background(fn func(ctx context.Context)) {
	a.work.Go(func() { fn(a.life) })
}

// Ready says whether volumes can be attached here; ErrNotReady names the program, daemon or module that is missing and
// the package that brings it. The first success also tells multipathd our policy.
func (a *Attacher) Ready(ctx context.Context) error {
	err := a.cfg.ISCSI.Ready(ctx)
	if err == nil {
		err = a.dm.Ready()
	}
	if err == nil {
		err = a.mpd.Ready(ctx)
	}
	if err != nil && !errors.Is(err, multipath.ErrBusy) {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return a.prepare(ctx)
}

// prepare runs once: before the first map, so that multipathd's reconfigure meets none of ours in the making.
func (a *Attacher) prepare(ctx context.Context) error {
	unlock, err := a.setup.Lock(ctx, "")
	if err != nil {
		return err
	}
	defer unlock()
	if a.prepared {
		return nil
	}
	var changed bool
	err = a.cfg.Files(func() (err error) {
		changed, err = a.cfg.Policy.WriteConfig(a.cfg.ConfigFile)
		return err
	})
	if err == nil {
		err = a.sweepRules()
	}
	if err == nil && changed {
		err = a.mpd.Reconfigure(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: configure multipathd: %w", ErrNotReady, err)
	}
	if err := a.loose.settle(ctx); err != nil {
		return err
	}
	a.prepared = true
	return nil
}
