package lvmthin

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/target/pool"
)

// lvFields and poolFields are what the two kinds of lvs call ask for. The first needs no look at the kernel's
// devices, so it stays cheap with thousands of LVs.
const (
	lvFields   = "lv_name,lv_size,lv_tags,pool_lv"
	poolFields = "lv_name,lv_size,lv_layout,lv_active,data_percent,metadata_percent,vg_extent_size,vg_mda_size,vg_mda_free," +
		"zero,discards,lv_when_full,lv_health_status"
)

// report is lvs --reportformat json: every value is a string.
type report struct {
	Report []struct {
		LV []map[string]string `json:"lv"`
	} `json:"report"`
}

func parseReport(out []byte) ([]map[string]string, error) {
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("read the report of lvs: %w", err)
	}
	var rows []map[string]string
	for _, part := range r.Report {
		rows = append(rows, part.LV...)
	}
	return rows, nil
}

// listing is what a volume group holds.
type listing struct {
	// ours by LVM's name.
	ours map[string]lv
	// foreign are the names of all other LVs.
	foreign map[string]bool
}

// parseListing reads a report of lvFields. An LV that carries our tag but not the rest is foreign: better left alone.
func parseListing(out []byte) (listing, error) {
	rows, err := parseReport(out)
	if err != nil {
		return listing{}, err
	}
	l := listing{ours: map[string]lv{}, foreign: map[string]bool{}}
	for _, row := range rows {
		if v, ok := parseLV(row); ok {
			l.ours[v.lv] = v
		} else {
			l.foreign[row["lv_name"]] = true
		}
	}
	return l, nil
}

func parseLV(row map[string]string) (lv, bool) {
	size, err := strconv.ParseInt(row["lv_size"], 10, 64)
	if err != nil || size <= 0 || row["lv_name"] == "" {
		return lv{}, false
	}
	v := lv{lv: row["lv_name"], size: size}
	tagged := false
	for tag := range strings.SplitSeq(row["lv_tags"], ",") {
		if tag == ours {
			tagged = true
		} else if err := v.readTag(tag); err != nil {
			return lv{}, false
		}
	}
	return v, tagged && v.consistent()
}

// readTag takes one tag in; tags that are not ours are somebody's own business.
func (l *lv) readTag(tag string) error {
	key, value, _ := strings.Cut(tag, "=")
	if name, ok := strings.CutPrefix(key, tagAttribute); ok {
		if l.attributes == nil {
			l.attributes = map[string]string{}
		}
		l.attributes[name] = value
		return nil
	}
	var err error
	switch key + "=" {
	case tagPool:
		l.pool = value
	case tagKind:
		l.kind = kind(value)
	case tagName:
		l.name = value
	case tagSerial:
		l.serial = value
	case tagSource:
		kind, name, _ := strings.Cut(value, "/")
		l.source = pool.Source{Kind: pool.SourceKind(kind), Name: name}
	case tagCreated:
		l.created, err = time.Parse(time.RFC3339Nano, value)
	case tagGrow:
		l.grow, err = strconv.ParseInt(value, 10, 64)
	}
	return err
}

// consistent says whether the tags are those that we make, and the LV's name the one that follows from them.
func (l *lv) consistent() bool {
	if l.pool == "" || l.name == "" {
		return false
	}
	switch l.kind {
	case volumeKind:
		return l.lv == volumeLV(l.name) && l.serial != ""
	case snapshotKind:
		return l.lv == snapshotLV(l.name) && l.source.Kind == pool.FromVolume
	default:
		return false
	}
}

// status is a thin pool as the kernel and LVM see it.
type status struct {
	size, extent   int64
	data, metadata float64
	vgMetadata     float64
	active         bool
	zeroing        bool
	discards       string
	whenFull       string
	health         string
}

func parseStatus(out []byte) (status, error) {
	rows, err := parseReport(out)
	if err != nil {
		return status{}, err
	}
	if len(rows) != 1 {
		return status{}, fmt.Errorf("read the report of lvs: %d rows for one thin pool", len(rows))
	}
	row := rows[0]
	if !strings.Contains(row["lv_layout"], "pool") || !strings.Contains(row["lv_layout"], "thin") {
		return status{}, fmt.Errorf("%w: LV %s is no thin pool but %s", pool.ErrInvalid, row["lv_name"], row["lv_layout"])
	}
	n := numbers{row: row}
	s := status{
		size: n.bytes("lv_size"), extent: n.bytes("vg_extent_size"),
		active: row["lv_active"] == "active",
		data:   n.percent("data_percent"), metadata: n.percent("metadata_percent"),
		zeroing: row["zero"] == "zero", discards: row["discards"], whenFull: row["lv_when_full"], health: row["lv_health_status"],
	}
	// vg_mda_free is out of half of the area: a new copy of the text must fit beside the old one.
	if half := n.bytes("vg_mda_size") / 2; half > 0 {
		s.vgMetadata = max(0, 1-float64(n.bytes("vg_mda_free"))/float64(half))
	}
	if n.err == nil && s.extent <= 0 {
		n.err = fmt.Errorf("vg_extent_size is %q", row["vg_extent_size"])
	}
	return s, n.err
}

// numbers reads a row's numbers and keeps the first error.
type numbers struct {
	row map[string]string
	err error
}

func (n *numbers) bytes(field string) int64 {
	v, err := strconv.ParseInt(n.row[field], 10, 64)
	if err != nil && n.err == nil {
		n.err = fmt.Errorf("read the report of lvs: %s is %q", field, n.row[field])
	}
	return v
}

// percent gives a fraction; an inactive pool has none and counts as empty.
func (n *numbers) percent(field string) float64 {
	if n.row[field] == "" {
		return 0
	}
	v, err := strconv.ParseFloat(n.row[field], 64)
	// Written so that NaN is out of range too.
	if (err != nil || !(v >= 0 && v <= 100)) && n.err == nil {
		n.err = fmt.Errorf("read the report of lvs: %s is %q", field, n.row[field])
	}
	return v / 100
}
