//go:build lab

package labenv

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Session is one iSCSI session as the kernel has it.
type Session struct {
	ID     int
	State  string // LOGGED_IN, FAILED, FREE
	Iface  string
	NIC    string
	Target string
	Portal string // address:port that the session was made to
}

// Sessions lists the kernel's iSCSI sessions.
func Sessions() []Session {
	var all []Session
	for _, dir := range glob("/sys/class/iscsi_session/session*") {
		id, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "session"))
		s := Session{
			ID: id, State: read(dir + "/state"), Iface: read(dir + "/ifacename"), Target: read(dir + "/targetname"),
		}
		// The parent of a symlink's target: filepath would take ".." for the parent of the symlink.
		if device, err := filepath.EvalSymlinks(dir + "/device"); err == nil {
			if hosts := glob(filepath.Dir(device) + "/iscsi_host/host*"); len(hosts) == 1 {
				s.NIC = read(hosts[0] + "/netdev")
			}
		}
		for _, c := range glob(dir + "/device/connection*/iscsi_connection/connection*") {
			s.Portal = net.JoinHostPort(read(c+"/persistent_address"), read(c+"/persistent_port"))
		}
		all = append(all, s)
	}
	return all
}

// Disks lists the SCSI disks that came over iSCSI, e.g. sda.
func Disks() []string {
	var all []string
	for _, dir := range glob("/sys/block/sd*") {
		if path, err := filepath.EvalSymlinks(dir); err == nil && strings.Contains(path, "/session") {
			all = append(all, filepath.Base(dir))
		}
	}
	return all
}

// Maps lists the names of all dm-multipath devices.
func Maps() []string {
	var all []string
	for _, dir := range glob("/sys/block/dm-*/dm") {
		if strings.HasPrefix(read(dir+"/uuid"), "mpath-") {
			all = append(all, read(dir+"/name"))
		}
	}
	return all
}

// LVs lists the device-mapper names of all logical volumes, the pools' inner ones too.
func LVs() []string {
	var all []string
	for _, dir := range glob("/sys/block/dm-*/dm") {
		if strings.HasPrefix(read(dir+"/uuid"), "LVM-") {
			all = append(all, read(dir+"/name"))
		}
	}
	return all
}

// MapPaths lists the disks of a dm device, e.g. sda, sdb.
func MapPaths(name string) []string {
	var all []string
	for _, dir := range glob("/sys/block/dm-*/dm") {
		if read(dir+"/name") != name {
			continue
		}
		for _, s := range glob(filepath.Join(filepath.Dir(dir), "slaves/*")) {
			all = append(all, filepath.Base(s))
		}
	}
	return all
}

// Mounts lists all mount points of this mount namespace.
func Mounts() []string {
	var all []string
	for line := range bytes.Lines(mountTable()) {
		if f := strings.Fields(string(line)); len(f) > 1 {
			all = append(all, f[1])
		}
	}
	return all
}

func mountsOf(mapName string) []string {
	var all []string
	for line := range bytes.Lines(mountTable()) {
		if f := strings.Fields(string(line)); len(f) > 1 && f[0] == "/dev/mapper/"+mapName {
			all = append(all, f[1])
		}
	}
	slices.Reverse(all)
	return all
}

func mountTable() []byte {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	return data
}

func glob(pattern string) []string {
	all, _ := filepath.Glob(pattern) // the patterns are ours and well-formed
	return all
}
