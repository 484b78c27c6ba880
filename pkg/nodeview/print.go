package nodeview

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Format is how something is printed.
type Format string

// The formats. Wide is a table with more columns.
const (
	Table Format = "table"
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// ParseFormat takes one of the given formats.
func ParseFormat(text string, among ...Format) (Format, error) {
	names := make([]string, len(among))
	for i, f := range among {
		if names[i] = string(f); names[i] == text {
			return f, nil
		}
	}
	return "", fmt.Errorf("output format %.32q: want one of %s", text, strings.Join(names, ", "))
}

// Row is a line of a table.
type Row interface {
	Interface | Session | Path | Volume
	cells() []cell
}

// cell is a column's title and this row's value in it.
type cell struct {
	title, value string
	wide         bool
}

// Print writes rows in a format.
func Print[R Row](w io.Writer, format Format, rows []R) error {
	if format == JSON || format == YAML {
		return Marshal(w, format, rows)
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var none R
	line(tab, none.cells(), format == Wide, func(c cell) string { return c.title })
	for _, row := range rows {
		line(tab, row.cells(), format == Wide, func(c cell) string { return c.value })
	}
	return tab.Flush()
}

// Marshal writes a value as JSON or YAML.
func Marshal(w io.Writer, format Format, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err == nil && format == YAML {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, strings.TrimRight(string(text), "\n"))
	return err
}

func line(w io.Writer, cells []cell, wide bool, text func(cell) string) {
	var fields []string
	for _, c := range cells {
		if wide || !c.wide {
			fields = append(fields, orDash(text(c)))
		}
	}
	fmt.Fprintln(w, strings.Join(fields, "\t"))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (i Interface) cells() []cell {
	return []cell{
		{title: "INTERFACE", value: i.Name},
		{title: "NIC", value: i.NIC},
		{title: "COMPLIANCE", value: string(i.State)},
		{title: "ADDRESSES", value: joined(i.Addresses)},
		{title: "SESSIONS", value: fmt.Sprintf("%d/%d", i.Sessions, i.SessionsTotal)},
		{title: "RECEIVED", value: size(i.RxBytes)},
		{title: "SENT", value: size(i.TxBytes)},
		{title: "KIND", value: i.Kind, wide: true},
		{title: "MAC", value: i.MAC, wide: true},
		{title: "MTU", value: number(i.MTU), wide: true},
		{title: "MBIT/S", value: number(i.SpeedMbps), wide: true},
		{title: "MESSAGE", value: i.Message, wide: true},
	}
}

func (s Session) cells() []cell {
	return []cell{
		{title: "SESSION", value: number(s.ID)},
		{title: "STATE", value: s.State},
		{title: "INTERFACE", value: s.Interface},
		{title: "NIC", value: s.NIC},
		{title: "PORTAL", value: portal(s.Asked)},
		{title: "DISKS", value: strings.Join(s.Disks, ",")},
		{title: "TARGET", value: s.Target},
		{title: "CONNECTED TO", value: portal(s.Portal), wide: true},
		{title: "RECOVERY", value: fmt.Sprintf("%ds", s.RecoveryTimeout), wide: true},
		{title: "INITIATOR", value: s.Initiator, wide: true},
	}
}

func (p Path) cells() []cell {
	return []cell{
		{title: "VOLUME", value: first(p.Claim, p.Volume)},
		{title: "INTERFACE", value: p.Interface},
		{title: "NIC", value: p.NIC},
		{title: "PORTAL", value: portal(p.Portal)},
		{title: "SESSION", value: number(p.Session)},
		{title: "SESSION STATE", value: p.SessionState},
		{title: "DISK", value: p.Disk},
		{title: "PATH", value: p.State},
		{title: "DISK STATE", value: p.DiskState, wide: true},
		{title: "HCTL", value: p.HCTL, wide: true},
		{title: "MAP", value: p.Map, wide: true},
		{title: "VOLUME ID", value: p.Volume, wide: true},
	}
}

func (v Volume) cells() []cell {
	return []cell{
		{title: "VOLUME", value: v.ID},
		{title: "CLAIM", value: v.Claim},
		{title: "STATE", value: v.State},
		{title: "PATHS", value: fmt.Sprintf("%d/%d", v.Working, v.Expected)},
		{title: "SIZE", value: size(max(0, v.SizeBytes))},
		{title: "MAP", value: v.Map},
		{title: "DEVICE", value: v.Device, wide: true},
		{title: "INTERFACES", value: first(strings.Join(v.Interfaces, ","), "all"), wide: true},
		{title: "PAIRING", value: v.Pairing, wide: true},
		{title: "LUN", value: strconv.Itoa(v.LUN), wide: true},
		{title: "TARGET", value: v.Target, wide: true},
		{title: "LOST", value: v.Lost, wide: true},
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// number leaves out what is not known.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func portal(p netip.AddrPort) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func joined(list []netip.Prefix) string {
	all := make([]string, len(list))
	for i, p := range list {
		all[i] = p.String()
	}
	return strings.Join(all, ",")
}

// size gives three digits and a unit.
func size[N int64 | uint64](n N) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if value >= 100 || unit == "B" {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
