package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

const (
	// governWidth is how many maps are changed at once.
	governWidth = 8
	// movesQuiet is how long volumes that come together are waited for, followEvery when staged volumes are looked for anyway.
	movesQuiet  = time.Second
	followEvery = time.Minute
)

// Classes knows the VolumeAttributesClasses of volumes.
type Classes interface {
	// Follow calls told with the CSI driver, volume id and class of the PersistentVolume of that name, "" for none: soon, whenever
	// they may have changed, and again some time after told has failed. It returns when ctx ends.
	Follow(ctx context.Context, pv string, told func(driver, volumeID, class string) error)
	// Parameters gives the CSI driver and the parameters of a class.
	Parameters(ctx context.Context, class string) (driver string, parameters map[string]string, err error)
	// Changed is told when the policy of a volume in use is another one now, because of its class.
	Changed(volumeID string, claim volume.Claim, class string)
}

// follower follows the class of one volume.
type follower struct {
	pv  string
	end context.CancelFunc
	// live says that the record knew the volume's class: one that does no more is of another stage, and must be told again.
	live bool
}

func (f *follower) follows(r *staging.Record) bool {
	return f != nil && f.pv == r.Claim.Volume && (r.Live != nil || !f.live)
}

// FollowClasses has the policies of staged volumes follow their VolumeAttributesClasses until ctx ends. Kubernetes gives a
// volume another class once ControllerModifyVolume has succeeded, and tells no node. Volumes whose PersistentVolume is not
// known keep the policy that they were published with.
func (n *Node) FollowClasses(ctx context.Context, classes Classes) {
	var all sync.WaitGroup
	defer all.Wait()
	begin := func(volumeID, pv string) *follower {
		ctx, cancel := context.WithCancel(ctx)
		all.Go(func() { n.follow(ctx, classes, volumeID, pv) })
		return &follower{pv: pv, end: cancel}
	}
	followers := map[string]*follower{}
	for ctx.Err() == nil {
		records, err := n.cfg.Records.Records()
		if err != nil {
			klog.FromContext(ctx).Error(err, "Some volumes do not follow their class")
		}
		followers = n.refollow(records, followers, begin)
		n.moves.Wait(ctx, followEvery)
	}
	n.refollow(nil, followers, nil)
}

// refollow ends and begins followers, by volume id, so that there is one for each staged volume.
func (n *Node) refollow(
	records []*staging.Record, before map[string]*follower, begin func(volumeID, pv string) *follower,
) map[string]*follower {
	now := map[string]*follower{}
	for _, r := range records {
		if r.Claim.Volume == "" || !n.current(r) {
			continue
		}
		f := before[r.VolumeID]
		if f.follows(r) {
			delete(before, r.VolumeID)
		} else {
			f = begin(r.VolumeID, r.Claim.Volume)
		}
		f.live = r.Live != nil
		now[r.VolumeID] = f
	}
	for _, f := range before {
		f.end()
	}
	return now
}

func (n *Node) follow(ctx context.Context, classes Classes, volumeID, pv string) {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("volume", volumeID))
	classes.Follow(ctx, pv, func(driver, handle, class string) error {
		if driver != Name || handle != volumeID || class == "" {
			return nil
		}
		return n.adoptClass(ctx, classes, volumeID, class)
	})
}

// adoptClass gives a staged volume the policy of its class: in the record first, from where a restart and heal have it.
func (n *Node) adoptClass(ctx context.Context, classes Classes, volumeID, class string) error {
	r, err := n.following(volumeID, class)
	if r == nil || err != nil {
		return err
	}
	driver, parameters, err := classes.Parameters(ctx, class)
	if err != nil {
		return fmt.Errorf("VolumeAttributesClass %s: %w", class, err)
	}
	if driver != Name {
		return fmt.Errorf("VolumeAttributesClass %s is of driver %s", class, driver)
	}
	changed, err := n.recordClass(volumeID, class, parameters)
	if err != nil || !changed {
		return err
	}
	// Healing, which may be at the device with what the record said before, is waited for: its next round comes half a minute later.
	if err := n.cfg.Attach.Govern(ctx, r.Attachment.WWID, n.latest(volumeID)); err != nil {
		// The record has it: healing comes back to it.
		return fmt.Errorf("the volume's paths are not as VolumeAttributesClass %s says: %w", class, err)
	}
	klog.FromContext(ctx).Info("The path policy follows the volume's class", "class", class)
	classes.Changed(volumeID, volume.Claim(r.Claim), class)
	return nil
}

// following gives the record of a staged volume whose policy is not that of the class yet; else nil.
func (n *Node) following(volumeID, class string) (*staging.Record, error) {
	r, err := n.cfg.Records.Record(volumeID)
	if err != nil || r == nil || !n.current(r) || (r.Live != nil && r.Live.Class == class) {
		return nil, err
	}
	return r, nil
}

// recordClass applies a class to the policy in the record, as ControllerModifyVolume has to the one at the target. It says whether
// that made a difference.
func (n *Node) recordClass(volumeID, class string, parameters map[string]string) (changed bool, err error) {
	release, err := n.calls.acquire("volume " + volumeID)
	if err != nil {
		return false, err
	}
	defer release()
	r, err := n.following(volumeID, class)
	if r == nil || err != nil {
		return false, err
	}
	have := r.Attachment.Policy
	want, err := volume.ParseMutableParameters(volume.Policy(have), parameters)
	if err != nil {
		return false, fmt.Errorf("VolumeAttributesClass %s: %w", class, err)
	}
	if r.Live == nil {
		r.Live = &staging.Live{Published: have}
	}
	r.Live.Class, r.Attachment.Policy = class, staging.Policy(want)
	return have != r.Attachment.Policy, n.cfg.Records.Put(r)
}

// keepLive has a stage that is repeated keep what the volume's class has changed since it was published: kubelet repeats the
// publish context of then.
func keepLive(want, before *staging.Record) {
	if before.Live != nil && before.Live.Published == want.Attachment.Policy {
		want.Live, want.Attachment.Policy = before.Live, before.Attachment.Policy
	}
}

// latest gives what the volume's device should be by its record, which may change at any time.
func (n *Node) latest(volumeID string) func() (attach.Spec, error) {
	return func() (attach.Spec, error) {
		r, err := n.cfg.Records.Record(volumeID)
		switch {
		case err != nil:
			return attach.Spec{}, err
		case r == nil || !n.current(r):
			return attach.Spec{}, attach.ErrNotFound
		}
		return spec(r.Attachment, nil), nil
	}
}

// governAll has the devices of volumes be as their records say; those that change together share what multipathd has to do.
func (n *Node) governAll(ctx context.Context, records []*staging.Record) error {
	var (
		all  sync.WaitGroup
		errs = make([]error, len(records))
		slot = make(chan struct{}, governWidth)
	)
	for i, r := range records {
		all.Go(func() {
			slot <- struct{}{}
			defer func() { <-slot }()
			errs[i] = n.cfg.Attach.TryGovern(ctx, r.Attachment.WWID, n.latest(r.VolumeID))
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
