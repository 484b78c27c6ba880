package multipath

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// wwidsHeader is libmultipath's (wwids.h): multipath-tools write the same when they make the file.
const wwidsHeader = "# Multipath wwids, Version : 1.0\n" +
	"# NOTE: This file is automatically maintained by multipath and multipathd.\n" +
	"# You should not need to edit this file in normal circumstances.\n#\n# Valid WWIDs:\n"

// WWIDs is the list of WWIDs that udev's rules and multipathd take for multipath, /etc/multipath/wwids: with the
// default find_multipaths, strict, nothing else is. Being on it keeps LVM and others off the single disks.
type WWIDs struct {
	// File is the list's name.
	File string
	// FailedDirs hold one file per WWID whose map multipathd failed to make: it does not try again, and udev's
	// rules take the disks for plain ones.
	FailedDirs []string
}

// HostWWIDs is the list of this machine.
func HostWWIDs() WWIDs {
	return WWIDs{
		File:       "/etc/multipath/wwids",
		FailedDirs: []string{"/dev/shm/multipath/failed_wwids", "/run/multipath/failed_wwids"},
	}
}

// Add puts id on the list, and takes back multipathd's note that its map failed.
func (w WWIDs) Add(ctx context.Context, id string) error {
	if !nameRE.MatchString(id) {
		return &Error{Op: "add to wwids", On: fmt.Sprintf("%q", id), Err: ErrInput}
	}
	err := w.edit(ctx, func(text []byte) ([]byte, int64) {
		if bytes.Contains(text, entry(id)) {
			return nil, 0
		}
		if len(text) == 0 {
			return append([]byte(wwidsHeader), entry(id)[1:]...), 0
		}
		if at := dropped(text, len(id)); at >= 0 {
			return []byte("/" + id + "/"), int64(at)
		}
		if text[len(text)-1] != '\n' {
			return entry(id), int64(len(text))
		}
		return entry(id)[1:], int64(len(text))
	})
	if err != nil {
		return &Error{Op: "add to wwids", On: id, Err: err}
	}
	return w.Unfail(id)
}

// Unfail takes back multipathd's note that the map of id could not be made.
func (w WWIDs) Unfail(id string) error {
	for _, dir := range w.FailedDirs {
		if err := os.Remove(filepath.Join(dir, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return &Error{Op: "unmark failed wwid", On: id, Err: err}
		}
	}
	return nil
}

// Drop takes id off the list, as "multipath -w" does: its line becomes a comment of the same length.
func (w WWIDs) Drop(ctx context.Context, id string) error {
	if _, err := os.Stat(w.File); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	err := w.edit(ctx, func(text []byte) ([]byte, int64) {
		at := bytes.Index(text, entry(id))
		if at < 0 {
			return nil, 0
		}
		return []byte("#"), int64(at) + 1
	})
	if err != nil {
		return &Error{Op: "drop from wwids", On: id, Err: err}
	}
	return nil
}

// entry is a line of the list with the newline before it. The header makes sure that there is one.
func entry(id string) []byte { return []byte("\n/" + id + "/\n") }

// dropped finds the place of an entry of n digits that Drop, or multipath -w, commented out: without its reuse the
// list would grow with each volume that ever was here. -1 when there is none.
func dropped(text []byte, n int) int {
	at := 0
	for line := range bytes.Lines(text) {
		if len(line) == n+3 && line[0] == '#' && line[n+1] == '/' && !bytes.ContainsAny(line[:n], " \t") {
			return at
		}
		at += len(line)
	}
	return -1
}

// edit holds libmultipath's lock (file.c, lock_file) while change says what to write where; nil writes nothing.
func (w WWIDs) edit(ctx context.Context, change func(text []byte) (patch []byte, at int64)) error {
	if err := os.MkdirAll(filepath.Dir(w.File), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(w.File, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := lock(ctx, f); err != nil {
		return err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	patch, at := change(text)
	if patch == nil {
		return nil
	}
	_, err = f.WriteAt(patch, at)
	return err
}

// lock takes an open-file-description lock, which conflicts with fcntl locks of other programs and of our goroutines.
func lock(ctx context.Context, f *os.File) error {
	for {
		l := unix.Flock_t{Type: unix.F_WRLCK}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
