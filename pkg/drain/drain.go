// Package drain remembers which storage interfaces of this node are taken out of use for maintenance, across restarts and
// reboots. It is a wish: who moves the I/O away is told of it, and looks when it likes.
package drain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/keep"
)

const (
	dirName = "drained"
	suffix  = ".json"
)

// Store is a directory with a file for each drained interface: whoever changes one does not change another's.
type Store struct {
	dir string
}

// In gives the store in the node plugin's state directory.
func In(stateDir string) Store { return Store{dir: filepath.Join(stateDir, dirName)} }

// wish is a file's content, for people: the file's name says it all.
type wish struct {
	Interface string    `json:"interface"`
	Since     time.Time `json:"since"`
}

// Names lists the drained interfaces, sorted.
func (s Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("which interfaces are drained: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && binding.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Set drains an interface. It is remembered when Set returns.
func (s Store) Set(name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	return keep.Save(path, wish{Interface: name, Since: time.Now().UTC().Truncate(time.Second)})
}

// Clear undoes Set; not drained is success.
func (s Store) Clear(name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	return keep.Remove(path)
}

func (s Store) path(name string) (string, error) {
	if err := binding.CheckName(name); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, name+suffix), nil
}

// Mark gives what resolve gives, with the interfaces that are drained at that moment.
func (s Store) Mark(resolve func() (binding.Resolution, error)) func() (binding.Resolution, error) {
	return func() (binding.Resolution, error) {
		r, err := resolve()
		if err != nil {
			return r, err
		}
		r.Drained, err = s.Names()
		return r, err
	}
}
