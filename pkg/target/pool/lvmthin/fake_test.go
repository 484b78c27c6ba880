package lvmthin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/portbind/portbind/pkg/hostexec"
)

const fakeExtent = 4 << 20

// fakeLVM behaves as the LVM commands do that are used here, as far as they are used. Anything else panics.
type fakeLVM struct {
	t  *testing.T
	mu sync.Mutex
	// lvs by name, of one volume group vg with one thin pool named pool.
	lvs    map[string]*fakeLV
	status map[string]string
	// calls are the programs that ran, lvs left out unless it is asked for.
	calls   []string
	listed  int
	fail    map[string]error
	suspend map[string]bool
}

type fakeLV struct {
	size   int64
	tags   []string
	active bool
}

func newFakeLVM(t *testing.T) *fakeLVM {
	t.Helper()
	return &fakeLVM{
		t: t, lvs: map[string]*fakeLV{}, fail: map[string]error{}, suspend: map[string]bool{},
		status: map[string]string{
			"lv_name": "pool", "lv_size": strconv.Itoa(3 << 30), "lv_layout": "thin,pool", "lv_active": "active",
			"data_percent": "10.00", "metadata_percent": "10.00", "vg_extent_size": strconv.Itoa(fakeExtent),
			"vg_mda_size": "68153344", "vg_mda_free": "34072576", "zero": "zero", "discards": "passdown",
			"lv_when_full": "queue", "lv_health_status": "",
		},
	}
}

// Run implements hostexec.Runner.
func (f *fakeLVM) Run(ctx context.Context, _ []byte, name string, args ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, &hostexec.Error{Name: name, Args: args, ExitCode: -1, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "lvs" {
		return f.report(args), nil
	}
	f.calls = append(f.calls, name)
	if err := f.fail[name]; err != nil {
		return nil, err
	}
	switch name {
	case "lvcreate":
		return nil, f.create(args)
	case "lvextend":
		v, size := f.lv(args), parseSize(f.t, value(args, "-L"))
		if v.size >= size {
			return nil, failure("New size (4 extents) matches existing size (4 extents).")
		}
		v.size = size
		return nil, nil
	case "lvremove":
		delete(f.lvs, lvName(args))
		return nil, nil
	case "lvchange":
		return nil, f.change(args)
	}
	panic("unexpected program " + name)
}

func failure(stderr string) error {
	return &hostexec.Error{Name: "lvm", ExitCode: 5, Stderr: stderr}
}

func (f *fakeLVM) create(args []string) error {
	name := value(args, "-n")
	if _, ok := f.lvs[name]; ok {
		return failure(fmt.Sprintf("Logical Volume %q already exists in volume group \"vg\"", name))
	}
	v := &fakeLV{}
	if origin := value(args, "-s"); origin != "" {
		from, ok := f.lvs[strings.TrimPrefix(origin, "vg/")]
		if !ok {
			return failure("Snapshot origin LV x not found in Volume group vg.")
		}
		v.size = from.size
	} else {
		v.size = parseSize(f.t, value(args, "-V"))
	}
	for i, a := range args {
		if a == "--addtag" {
			v.tags = append(v.tags, args[i+1])
		}
	}
	f.lvs[name] = v
	return nil
}

func (f *fakeLVM) change(args []string) error {
	for i, a := range args {
		switch a {
		case "--deltag":
			v := f.lv(args)
			v.tags = slices.DeleteFunc(v.tags, func(t string) bool { return t == args[i+1] })
		case "--addtag":
			v := f.lv(args)
			v.tags = append(v.tags, args[i+1])
		}
	}
	if slices.Contains(args, "--refresh") {
		f.suspend[lvName(args)] = false
	}
	for _, a := range args {
		if v, ok := f.lvs[strings.TrimPrefix(a, "vg/")]; ok {
			v.active = slices.Contains(args, "-ay") || v.active && !slices.Contains(args, "-an")
		}
	}
	return nil
}

func (f *fakeLVM) lv(args []string) *fakeLV {
	v, ok := f.lvs[lvName(args)]
	if !ok {
		panic("no LV " + lvName(args))
	}
	return v
}

func (f *fakeLVM) report(args []string) []byte {
	var rows []map[string]string
	switch value(args, "-o") {
	case lvFields:
		f.listed++
		for name, v := range f.lvs {
			rows = append(rows, map[string]string{
				"lv_name": name, "lv_size": strconv.FormatInt(v.size, 10), "lv_tags": strings.Join(v.tags, ","), "pool_lv": "pool",
			})
		}
	case poolFields:
		rows = append(rows, f.status)
	case "lv_name,lv_suspended":
		for name, suspended := range f.suspend {
			row := map[string]string{"lv_name": name, "lv_suspended": ""}
			if suspended {
				row["lv_suspended"] = "suspended"
			}
			rows = append(rows, row)
		}
	default:
		panic("unexpected fields " + value(args, "-o"))
	}
	out, err := json.Marshal(map[string]any{"report": []any{map[string]any{"lv": rows}}})
	if err != nil {
		panic(err)
	}
	return out
}

func value(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 {
		return args[i+1]
	}
	return ""
}

func lvName(args []string) string { return strings.TrimPrefix(args[len(args)-1], "vg/") }

func parseSize(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(s, "b"), 10, 64)
	if err != nil || n%fakeExtent != 0 {
		t.Errorf("size %q", s)
	}
	return n
}

var errKilled = errors.New("killed")
