package multipath

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Map is what multipathd knows of a map.
type Map struct {
	// Name is the one under /dev/mapper, ID the map's WWID as multipathd writes it, Sysfs the kernel's ("dm-3").
	Name  string `json:"name"`
	ID    string `json:"uuid"`
	Sysfs string `json:"sysfs"`
	// Queueing is what happens to I/O when no path is left: "off", "on", "12 chk".
	Queueing string  `json:"queueing"`
	Groups   []Group `json:"path_groups"`
}

// Group is a path group; the kernel uses one at a time.
type Group struct {
	Selector string    `json:"selector"`
	State    string    `json:"dm_st"`
	Paths    []MapPath `json:"paths"`
}

// MapPath is a disk in a map.
type MapPath struct {
	// Disk is the kernel's name ("sdb"), Devno its number ("8:16").
	Disk  string `json:"dev"`
	Devno string `json:"dev_t"`
	// DMState is the map's view (active, failed, undef), Checker the path checker's (ready, faulty, i/o pending ...).
	DMState string `json:"dm_st"`
	Checker string `json:"chk_st"`
}

// Paths returns the paths of all groups.
func (m Map) Paths() []MapPath {
	var all []MapPath
	for _, g := range m.Groups {
		all = append(all, g.Paths...)
	}
	return all
}

// Maps lists the maps that multipathd manages.
func (c *Client) Maps(ctx context.Context) ([]Map, error) {
	text, err := c.Do(ctx, "show maps json")
	if err != nil {
		return nil, err
	}
	return ParseMaps(text)
}

// Map returns one map by name: ErrNotFound when multipathd does not manage it.
func (c *Client) Map(ctx context.Context, name string) (Map, error) {
	if !nameRE.MatchString(name) {
		return Map{}, &Error{Op: "show map", On: fmt.Sprintf("%q", name), Err: ErrInput}
	}
	text, err := c.exchange(ctx, "show map "+name+" json")
	if err != nil {
		return Map{}, &Error{Op: "show map", On: name, Err: err}
	}
	if v := verdict(text); v != nil {
		if strings.TrimSpace(text) == "fail" {
			v = ErrNotFound
		}
		return Map{}, &Error{Op: "show map", On: name, Err: v}
	}
	return ParseMap(text)
}

// ParseMaps reads the answer to "show maps json".
func ParseMaps(text string) ([]Map, error) {
	var all struct {
		Maps []Map `json:"maps"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, &Error{Op: "parse", On: "show maps json", Err: fmt.Errorf("%w: %w", ErrFormat, err)}
	}
	return all.Maps, nil
}

// ParseMap reads the answer to "show map NAME json".
func ParseMap(text string) (Map, error) {
	var one struct {
		Map *Map `json:"map"`
	}
	err := json.Unmarshal([]byte(text), &one)
	if err == nil && one.Map == nil {
		return Map{}, &Error{Op: "parse", On: "show map json", Err: ErrNotFound}
	}
	if err != nil {
		return Map{}, &Error{Op: "parse", On: "show map json", Err: fmt.Errorf("%w: %w", ErrFormat, err)}
	}
	return *one.Map, nil
}

// KnownPath is a disk that multipathd watches, in a map or not.
type KnownPath struct {
	// Disk is the kernel's name, HCTL its SCSI address, ID the WWID that multipathd took for it; empty when none yet.
	Disk, HCTL, ID string
}

// pathsFormat has one field that is never empty first and last, so that an empty WWID cannot shift the others.
const pathsFormat = `show paths raw format "%d|%i|%w|"`

// KnownPaths lists the disks that multipathd watches.
func (c *Client) KnownPaths(ctx context.Context) ([]KnownPath, error) {
	text, err := c.Do(ctx, pathsFormat)
	if err != nil {
		return nil, err
	}
	return ParsePaths(text), nil
}

// ParsePaths reads the answer to pathsFormat. Lines of another form are left out.
func ParsePaths(text string) []KnownPath {
	var all []KnownPath
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), "|")
		if len(f) != 4 || strings.TrimSpace(f[0]) == "" {
			continue
		}
		p := KnownPath{Disk: strings.TrimSpace(f[0]), HCTL: strings.TrimSpace(f[1]), ID: strings.TrimSpace(f[2])}
		all = append(all, p)
	}
	return all
}
