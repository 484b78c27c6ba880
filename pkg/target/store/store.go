// Package store keeps what the kernel forgets at a reboot: which volume is exported to which initiator, and the
// CHAP credentials. A record is written before the first side effect that it stands for.
package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked is a database that another daemon has open.
var ErrLocked = errors.New("another portbind-targetd is running on this state directory")

const (
	fileName = "exports.db"
	// lockWait lets a predecessor end that was just told to.
	lockWait = 10 * time.Second
)

var (
	metaBucket       = []byte("meta")
	exportsBucket    = []byte("exports")
	initiatorsBucket = []byte("initiators")
	versionKey       = []byte("version")
	iqnKey           = []byte("iqn")
	version          = []byte("1")
)

// Export is one volume as a LUN of one initiator.
type Export struct {
	Pool      string `json:"pool"`
	Volume    string `json:"volume"`
	Initiator string `json:"initiator"`
	// LUN is the number that the initiator sees, TPGLUN the one of the target. Each export has a TPG LUN of its
	// own, so that removing it waits for the commands of this initiator and no other's.
	LUN      uint32 `json:"lun"`
	TPGLUN   uint32 `json:"tpgLun"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Removing says that an unpublish has begun: the export must not come back.
	Removing bool `json:"removing,omitempty"`
}

// key orders exports by volume, then initiator. None of the parts can hold a NUL.
func (e Export) key() []byte { return []byte(e.Pool + "\x00" + e.Volume + "\x00" + e.Initiator) }

// CHAP holds credentials of one initiator. Secrets: never logged, never in an error.
type CHAP struct {
	User         string `json:"user"`
	Secret       string `json:"secret"`
	TargetUser   string `json:"targetUser,omitempty"`
	TargetSecret string `json:"targetSecret,omitempty"`
}

// String keeps secrets out of formatted output.
func (CHAP) String() string { return "CHAP(***stripped***)" }

// GoString keeps secrets out of %#v.
func (c CHAP) GoString() string { return c.String() }

// Records are all that is stored.
type Records struct {
	// IQN is the target's name under which the exports were made; empty in a new database.
	IQN string
	// Exports are sorted by pool, volume, initiator.
	Exports []Export
	// CHAP by initiator; those that need not authenticate have no entry.
	CHAP map[string]CHAP
}

// Store is the database. Each change is durable when the call returns.
type Store struct {
	db *bbolt.DB
}

// Open opens or makes the database in a directory, which is made too. Both are readable by root only.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{db: db}
	// A restored backup may have come with a wider mode.
	if err := errors.Join(os.Chmod(path, 0o600), db.Update(initialise)); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return s, nil
}

func initialise(tx *bbolt.Tx) error {
	for _, name := range [][]byte{metaBucket, exportsBucket, initiatorsBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	if v := meta.Get(versionKey); v != nil && !bytes.Equal(v, version) {
		return fmt.Errorf("the database has version %q, this program knows %q", v, version)
	}
	return meta.Put(versionKey, version)
}

// Close releases the database.
func (s *Store) Close() error { return s.db.Close() }

// Load reads everything.
func (s *Store) Load() (Records, error) {
	r := Records{CHAP: map[string]CHAP{}}
	err := s.db.View(func(tx *bbolt.Tx) error {
		r.IQN = string(tx.Bucket(metaBucket).Get(iqnKey))
		err := tx.Bucket(exportsBucket).ForEach(func(k, v []byte) error {
			var e Export
			if err := json.Unmarshal(v, &e); err != nil {
				return fmt.Errorf("record %s: %w", strings.ReplaceAll(string(k), "\x00", "/"), err)
			}
			r.Exports = append(r.Exports, e)
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(initiatorsBucket).ForEach(func(k, v []byte) error {
			var c CHAP
			if err := json.Unmarshal(v, &c); err != nil {
				// Not %w: the message could quote a part of the secret.
				return fmt.Errorf("credentials of %s cannot be read", k)
			}
			r.CHAP[string(k)] = c
			return nil
		})
	})
	if err != nil {
		return Records{}, fmt.Errorf("read the export database: %w", err)
	}
	slices.SortFunc(r.Exports, func(a, b Export) int { return strings.Compare(string(a.key()), string(b.key())) })
	return r, nil
}

// SetIQN records the target's name.
func (s *Store) SetIQN(iqn string) error {
	return s.update("record the target's name", func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(iqnKey, []byte(iqn))
	})
}

// Put records an export together with its initiator's credentials (nil for none), in one transaction.
func (s *Store) Put(e Export, chap *CHAP) error {
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("record export: %w", err)
	}
	return s.update("record export", func(tx *bbolt.Tx) error {
		if err := tx.Bucket(exportsBucket).Put(e.key(), value); err != nil {
			return err
		}
		if chap == nil {
			return tx.Bucket(initiatorsBucket).Delete([]byte(e.Initiator))
		}
		secret, err := json.Marshal(chap) //nolint:gosec // Storing it, readable by root only, is the point.
		if err != nil {
			return errors.New("credentials cannot be written")
		}
		return tx.Bucket(initiatorsBucket).Put([]byte(e.Initiator), secret)
	})
}

// Remove forgets an export, and its initiator's credentials with the last one.
func (s *Store) Remove(e Export) error {
	return s.update("forget export", func(tx *bbolt.Tx) error {
		exports := tx.Bucket(exportsBucket)
		if err := exports.Delete(e.key()); err != nil {
			return err
		}
		last := true
		err := exports.ForEach(func(k, _ []byte) error {
			if strings.HasSuffix(string(k), "\x00"+e.Initiator) {
				last = false
			}
			return nil
		})
		if err != nil || !last {
			return err
		}
		return tx.Bucket(initiatorsBucket).Delete([]byte(e.Initiator))
	})
}

func (s *Store) update(what string, change func(*bbolt.Tx) error) error {
	if err := s.db.Update(change); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
