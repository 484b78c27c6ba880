package multipath

import (
	"fmt"
	"strconv"
	"strings"
)

// defaultSelector is what maps have when nobody names another one.
const defaultSelector = "service-time"

// targetKind is the name of the kernel's target.
const targetKind = "multipath"

// Table is the part of a multipath table that matters here.
type Table struct {
	// Sectors is the map's size in units of 512 bytes.
	Sectors uint64
	// Queue says that I/O waits when no path is left, instead of failing.
	Queue bool
	// ReadOnly says that the paths cannot be written to.
	ReadOnly bool
	// Handler is the SCSI device handler ("alua"), empty for none.
	Handler string
	// Selector is the path selector of all groups; empty is the default, service-time.
	Selector string
	// Groups are the paths by group, best first.
	Groups [][]Devno
}

// Paths returns the disks of all groups.
func (t Table) Paths() []Devno {
	var all []Devno
	for _, g := range t.Groups {
		all = append(all, g...)
	}
	return all
}

// params writes the table as dm-mpath.c parses it: features, handler, number of groups, initial group, then each
// group: selector, number of paths, number of arguments a path, and the paths.
func (t Table) params() string {
	var b strings.Builder
	b.WriteString(counted(features(t.Queue)) + " " + counted(words(t.Handler)))
	fmt.Fprintf(&b, " %d 1", len(t.Groups))
	for _, g := range t.Groups {
		fmt.Fprintf(&b, " %s 0 %d 1", t.selector(), len(g))
		for _, p := range g {
			fmt.Fprintf(&b, " %s 1", p)
		}
	}
	return b.String()
}

// selector is one that takes a path's argument for how many requests go there before the choice is made anew. An
// administrator's may want others; multipathd puts it back.
func (t Table) selector() string {
	switch t.Selector {
	case SelectRoundRobin, SelectQueueLength:
		return t.Selector
	}
	return defaultSelector
}

func features(queue bool) []string {
	if queue {
		return []string{"queue_if_no_path"}
	}
	return nil
}

func words(s string) []string { return strings.Fields(s) }

func counted(args []string) string {
	return strings.Join(append([]string{strconv.Itoa(len(args))}, args...), " ")
}

// PathState is a disk in the kernel's map.
type PathState struct {
	Devno  Devno
	Active bool
	// Group counts from 0; Enabled is the group's state: A active, E enabled, D disabled.
	Group   int
	Enabled string
}

// fields reads a parameter string word by word; after the first surprise it only gives zeros.
type fields struct {
	words []string
	bad   bool
}

func (f *fields) next() string {
	if len(f.words) == 0 {
		f.bad = true
		return ""
	}
	w := f.words[0]
	f.words = f.words[1:]
	return w
}

// count reads a number that says how many things follow: never more than there are words.
func (f *fields) count() int {
	n, err := strconv.Atoi(f.next())
	if err != nil || n < 0 || n > len(f.words) {
		f.bad = true
		return 0
	}
	return n
}

func (f *fields) skip(n int) []string {
	if n > len(f.words) {
		f.bad = true
		return nil
	}
	skipped := f.words[:n]
	f.words = f.words[n:]
	return skipped
}

func (f *fields) devno() Devno {
	major, minor, ok := strings.Cut(f.next(), ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		f.bad = true
	}
	return Devno{Major: uint32(a), Minor: uint32(b)}
}

// parseTable reads what DM_TABLE_STATUS gives with DM_STATUS_TABLE_FLAG.
func parseTable(sectors uint64, params string) (Table, error) {
	f := &fields{words: strings.Fields(params)}
	t := Table{Sectors: sectors}
	for _, w := range f.skip(f.count()) {
		t.Queue = t.Queue || w == "queue_if_no_path"
	}
	t.Handler = strings.Join(f.skip(f.count()), " ")
	groups := f.count()
	f.next() // the group to try first
	for range groups {
		t.Selector = f.next()
		f.skip(f.count())
		paths, args := f.count(), f.count()
		var g []Devno
		for range paths {
			g = append(g, f.devno())
			f.skip(args)
		}
		t.Groups = append(t.Groups, g)
	}
	if f.bad || len(f.words) > 0 {
		return Table{}, fmt.Errorf("%w: table %q", ErrFormat, params)
	}
	return t, nil
}

// parseStatus reads what DM_TABLE_STATUS gives (dm-mpath.c, multipath_status, STATUSTYPE_INFO).
func parseStatus(params string) ([]PathState, error) {
	f := &fields{words: strings.Fields(params)}
	f.skip(f.count()) // queue length and pg_init count
	f.skip(f.count()) // handler status
	groups := f.count()
	f.next() // current group
	var all []PathState
	for g := range groups {
		state := f.next()
		f.skip(f.count()) // selector status
		paths, args := f.count(), f.count()
		for range paths {
			p := PathState{Devno: f.devno(), Group: g, Enabled: state}
			p.Active = f.next() == "A"
			f.next() // failures so far
			f.skip(args)
			all = append(all, p)
		}
	}
	if f.bad {
		return nil, fmt.Errorf("%w: status %q", ErrFormat, params)
	}
	return all, nil
}

// Table returns the map's live table; ErrNotFound without one.
func (d *DM) Table(uuid string) (Table, error) {
	ts, got, err := d.targets(uuid, flagStatusTable)
	if err != nil {
		return Table{}, err
	}
	if len(ts) != 1 || ts[0].kind != targetKind {
		return Table{}, &Error{Op: "table", On: uuid, Err: fmt.Errorf("%w: no live multipath table", ErrNotFound)}
	}
	t, err := parseTable(ts[0].length, ts[0].params)
	if err != nil {
		return Table{}, &Error{Op: "table", On: uuid, Err: err}
	}
	t.ReadOnly = got&flagReadOnly != 0
	return t, nil
}

// PathStates returns the state of each path in the map's live table.
func (d *DM) PathStates(uuid string) ([]PathState, error) {
	ts, _, err := d.targets(uuid, 0)
	if err != nil {
		return nil, err
	}
	if len(ts) != 1 || ts[0].kind != targetKind {
		return nil, &Error{Op: "status", On: uuid, Err: fmt.Errorf("%w: no live multipath table", ErrNotFound)}
	}
	s, err := parseStatus(ts[0].params)
	if err != nil {
		return nil, &Error{Op: "status", On: uuid, Err: err}
	}
	return s, nil
}
