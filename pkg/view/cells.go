package view

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// cell is a column's title and this row's value in it.
type cell struct {
	title, value string
	only         only
}

// only says when a column is shown; always when empty.
type only string

const (
	inWide      only = "wide"
	inCluster   only = "cluster"
	whenWatched only = "watched"
)

func (p Place) cell() cell { return cell{title: "NODE", value: p.Node, only: inCluster} }

func (i Interface) cells() []cell {
	return []cell{
		i.cell(),
		{title: "INTERFACE", value: i.Name},
		{title: "NIC", value: i.NIC},
		{title: "COMPLIANCE", value: i.State},
		{title: "ADDRESSES", value: joined(i.Addresses)},
		{title: "SESSIONS", value: fmt.Sprintf("%d/%d", i.Sessions, i.SessionsTotal)},
		{title: "FLAPS", value: count(i.Flaps)},
		{title: "RECEIVED", value: size(i.RxBytes)},
		{title: "SENT", value: size(i.TxBytes)},
		{title: "RECEIVED/S", value: rate(i.RxRate), only: whenWatched},
		{title: "SENT/S", value: rate(i.TxRate), only: whenWatched},
		{title: "KIND", value: i.Kind, only: inWide},
		{title: "MAC", value: i.MAC, only: inWide},
		{title: "MTU", value: number(i.MTU), only: inWide},
		{title: "MBIT/S", value: number(i.SpeedMbps), only: inWide},
		{title: "MESSAGE", value: i.Message, only: inWide},
	}
}

func (s Session) cells() []cell {
	return []cell{
		s.cell(),
		{title: "SESSION", value: number(s.ID)},
		{title: "STATE", value: s.State},
		{title: "INTERFACE", value: s.Interface},
		{title: "NIC", value: s.NIC},
		{title: "PORTAL", value: portal(s.Asked)},
		{title: "DISKS", value: strings.Join(s.Disks, ",")},
		{title: "TARGET", value: s.Target},
		{title: "CONNECTED TO", value: portal(s.Portal), only: inWide},
		{title: "NOOP", value: fmt.Sprintf("%ds+%ds", s.NoopInterval, s.NoopTimeout), only: inWide},
		{title: "RECOVERY", value: fmt.Sprintf("%ds", s.RecoveryTimeout), only: inWide},
		{title: "INITIATOR", value: s.Initiator, only: inWide},
	}
}

func (p Path) cells() []cell {
	return []cell{
		p.cell(),
		{title: "VOLUME", value: cmp.Or(p.Claim, p.Volume)},
		{title: "INTERFACE", value: p.Interface},
		{title: "NIC", value: p.NIC},
		{title: "PORTAL", value: portal(p.Portal)},
		{title: "SESSION", value: number(p.Session)},
		{title: "SESSION STATE", value: p.SessionState},
		{title: "DISK", value: p.Disk},
		{title: "PATH", value: p.State},
		{title: "DISK STATE", value: p.DiskState, only: inWide},
		{title: "HCTL", value: p.HCTL, only: inWide},
		{title: "MAP", value: p.Map, only: inWide},
		{title: "VOLUME ID", value: p.Volume, only: inWide},
	}
}

func (v Volume) cells() []cell {
	return []cell{
		v.cell(),
		{title: "VOLUME", value: v.ID},
		{title: "CLAIM", value: v.Claim},
		{title: "STATE", value: v.State},
		{title: "PATHS", value: fmt.Sprintf("%d/%d", v.Working, v.Expected)},
		{title: "SIZE", value: size(max(0, v.SizeBytes))},
		{title: "MAP", value: v.Map},
		{title: "DEVICE", value: v.Device, only: inWide},
		{title: "INTERFACES", value: cmp.Or(strings.Join(v.Interfaces, ","), "all"), only: inWide},
		{title: "PAIRING", value: v.Pairing, only: inWide},
		{title: "LUN", value: strconv.Itoa(v.LUN), only: inWide},
		{title: "TARGET", value: v.Target, only: inWide},
		{title: "LOST", value: v.Lost, only: inWide},
	}
}

// number leaves out what is not known.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// count knows none from not known.
func count(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func rate(bytes *float64) string {
	if bytes == nil {
		return ""
	}
	return size(uint64(max(0, *bytes))) + "/s"
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
