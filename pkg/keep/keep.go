// Package keep has small state in JSON files that survive crashes: what was saved is there, as a whole or not at all.
package keep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Load reads a file into value; false when there is none.
func Load(path string, value any) (bool, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}

// Save replaces a file, mode 0600; it is on the disk when Save returns. After a crash or a loss of power before that, the old or
// the new content is there. Two calls at once must not be about one file.
func Save(path string, value any) error {
	if err := replace(path, value, (*os.File).Sync); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Hand is Save for what need not outlive this boot, only this process: it does not wait for the disk.
func Hand(path string, value any) error {
	return replace(path, value, func(*os.File) error { return nil })
}

func replace(path string, value any, finish func(*os.File) error) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := write(temp, raw, finish); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, path)
}

// Remove deletes a file durably; none is success.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// write makes a file, and does with it what is left to do when all is in it.
func write(path string, data []byte, finish func(*os.File) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = finish(file)
	}
	return errors.Join(err, file.Close())
}

// syncDir makes renames and removals in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
