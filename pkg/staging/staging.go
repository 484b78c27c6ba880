// Package staging keeps what this node must remember of its volumes across a crash, an upgrade or a reboot: how each
// one is staged (CSI gives NodeUnstageVolume no context), and notes that outlive that. One JSON file a volume, written
// to a temporary file, synced and renamed, mode 0600; no secrets.
package staging

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/keep"
)

// version of the files. A newer one is refused rather than misread.
const version = 1

// ErrLocked is a directory that another process works with.
var ErrLocked = errors.New("state directory is in use by another process")

// ErrCorrupt is a file that cannot be understood; it names the file. Nothing is done to the volume until a person
// has looked.
var ErrCorrupt = errors.New("record is not readable")

// Record says how one volume is, or is being, staged. It is written before anything is done and removed after
// everything is undone.
type Record struct {
	VolumeID    string `json:"volumeID"`
	StagingPath string `json:"stagingPath"`
	// Usage is how the CO wants to use the volume.
	Usage Usage `json:"usage"`
	// Attachment is how the device is reached.
	Attachment Attachment `json:"attachment"`
	// Live is set when the policy has followed a VolumeAttributesClass since the volume was published to the node.
	Live *Live `json:"live,omitempty"`
	// Given are the portals of the volume context, set when the target has other ones now, which are the Attachment's then.
	Given []netip.AddrPort `json:"given,omitempty"`
	// Claim is whose volume it is, where that is known.
	Claim Claim `json:"claim,omitzero"`
	// Staged says that the stage was completed in the boot of that id; the kernel's state since is not implied.
	Staged bool   `json:"staged"`
	BootID string `json:"bootID"`
	// Published are the publications by target path, written before the bind mount is made.
	Published map[string]Publication `json:"published,omitempty"`
}

// Usage is the volume capability.
type Usage struct {
	Block        bool     `json:"block,omitempty"`
	AccessMode   string   `json:"accessMode"`
	ReadOnly     bool     `json:"readOnly,omitempty"`
	FSType       string   `json:"fsType,omitempty"`
	MountOptions []string `json:"mountOptions,omitempty"`
}

// Equal compares all of it.
func (u Usage) Equal(v Usage) bool {
	return u.Block == v.Block && u.AccessMode == v.AccessMode && u.ReadOnly == v.ReadOnly && u.FSType == v.FSType &&
		slices.Equal(u.MountOptions, v.MountOptions)
}

// Attachment is an attach.Spec without its secrets.
type Attachment struct {
	Target     string           `json:"target"`
	Portals    []netip.AddrPort `json:"portals"`
	LUN        int              `json:"lun"`
	WWID       string           `json:"wwid,omitempty"`
	Interfaces []string         `json:"interfaces,omitempty"`
	Pairing    binding.Pairing  `json:"pairing,omitempty"`
	MinPaths   int              `json:"minPaths"`
	Initiator  string           `json:"initiator"`
	Policy     Policy           `json:"policy,omitzero"`
}

// Policy says how I/O uses the paths; empty fields are the driver's default.
type Policy struct {
	PathSelector       string `json:"pathSelector,omitempty"`
	PathGroupingPolicy string `json:"pathGroupingPolicy,omitempty"`
	PreferredInterface string `json:"preferredInterface,omitempty"`
	NoPathRetry        string `json:"noPathRetry,omitempty"`
	FailureDetection   string `json:"failureDetection,omitempty"`
}

// Live says how the policy of an attachment came to differ from the one that the volume was published with.
type Live struct {
	// Published is the policy of the publish context. The CO repeats it whatever happened since; one that differs is news.
	Published Policy `json:"published,omitzero"`
	// Class is the VolumeAttributesClass that the policy follows.
	Class string `json:"class"`
}

// Claim is Kubernetes' name of what the volume was made for.
type Claim struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Volume    string `json:"volume,omitempty"`
}

// Publication is one target path.
type Publication struct {
	ReadOnly bool `json:"readOnly,omitempty"`
	// Usage as the CO gave it with the publication.
	Usage Usage `json:"usage"`
}

// Note is what outlives the stage record.
type Note struct {
	VolumeID string `json:"volumeID"`
	// WWID is what a volume reported whose owner did not say it; from then on it must report the same.
	WWID string `json:"wwid,omitempty"`
	// Formatting is set from just before mkfs is started until it is known to have succeeded.
	Formatting *Formatting `json:"formatting,omitempty"`
}

// Formatting says that this node proved the device of that WWID blank and began to format it.
type Formatting struct {
	WWID   string `json:"wwid"`
	FSType string `json:"fsType"`
	// UUID of the file system that mkfs was told to make, 32 hexadecimal digits.
	UUID string `json:"uuid"`
}

// Store is a directory of records. Methods are safe for concurrent use on different volumes.
type Store struct {
	dir  string
	lock *os.File
}

const (
	recordsDir = "volumes"
	notesDir   = "notes"
)

// Open makes the directories as needed. One process at a time may have them open, until Close or its end: two that
// stage one volume would not know of each other. ErrLocked otherwise.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{recordsDir, notesDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, errors.Join(err, lock.Close())
	}
	return &Store{dir: dir, lock: lock}, nil
}

// Read returns the records of a directory that another process may have open, as Records does. It changes nothing.
func Read(dir string) ([]*Record, error) {
	return (&Store{dir: dir}).Records()
}

// Close lets another process open the directory.
func (s *Store) Close() error { return s.lock.Close() }

// Record returns the record of a volume, nil when there is none.
func (s *Store) Record(volumeID string) (*Record, error) {
	var r Record
	ok, err := s.load(s.file(recordsDir, volumeID), &r)
	if err != nil || !ok {
		return nil, err
	}
	return &r, r.check(volumeID)
}

// check refuses a file that belongs to another volume.
func (r *Record) check(volumeID string) error {
	if r.VolumeID != volumeID {
		return fmt.Errorf("%w: record of %q names volume %q", ErrCorrupt, volumeID, r.VolumeID)
	}
	return nil
}

// Put writes the record durably.
func (s *Store) Put(r *Record) error { return s.save(s.file(recordsDir, r.VolumeID), r) }

// Delete removes the record of a volume; none is success.
func (s *Store) Delete(volumeID string) error { return keep.Remove(s.file(recordsDir, volumeID)) }

// Records returns all records. Those that cannot be read are reported in the error, beside the others.
func (s *Store) Records() ([]*Record, error) {
	dir := filepath.Join(s.dir, recordsDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*Record
	var errs []error
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		var r Record
		ok, err := s.load(filepath.Join(dir, e.Name()), &r)
		if err != nil {
			errs = append(errs, err)
		} else if ok {
			all = append(all, &r)
		}
	}
	return all, errors.Join(errs...)
}

// Note returns the note of a volume, an empty one when there is none.
func (s *Store) Note(volumeID string) (Note, error) {
	n := Note{VolumeID: volumeID}
	if _, err := s.load(s.file(notesDir, volumeID), &n); err != nil {
		return Note{}, err
	}
	if n.VolumeID != volumeID {
		return Note{}, fmt.Errorf("%w: note of %q names volume %q", ErrCorrupt, volumeID, n.VolumeID)
	}
	return n, nil
}

// PutNote writes the note durably; an empty one removes the file.
func (s *Store) PutNote(n Note) error {
	path := s.file(notesDir, n.VolumeID)
	if n.WWID == "" && n.Formatting == nil {
		return keep.Remove(path)
	}
	return s.save(path, n)
}

// file is the path for a volume: a readable part of the id, and a hash that makes it unique whatever the id holds.
func (s *Store) file(sub, volumeID string) string {
	const readable = 80
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, volumeID[:min(readable, len(volumeID))])
	sum := sha256.Sum256([]byte(volumeID))
	return filepath.Join(s.dir, sub, safe+"-"+hex.EncodeToString(sum[:8])+".json")
}

// envelope is what is in a file.
type envelope struct {
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// load reads a file; ok is false when there is none.
func (s *Store) load(path string, into any) (ok bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	if e.Version != version {
		return false, fmt.Errorf("%w: %s: version %d, this program knows %d", ErrCorrupt, path, e.Version, version)
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	return true, nil
}

// save replaces a file durably.
func (s *Store) save(path string, from any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return keep.Save(path, envelope{Version: version, Data: data})
}
