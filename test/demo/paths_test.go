//go:build lab

package demo

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// path is one row of the path table.
type path struct {
	iface, nic, portal, disk, state string
	session                         int
}

// paths reads the node's paths from the kernel, their states from multipathd.
func paths(e *labenv.Env) []path {
	states := pathStates(e)
	var all []path
	for _, s := range labenv.Sessions() {
		for _, disk := range sessionDisks(s.ID) {
			state := states[disk]
			if state == "" {
				state = "not in a map"
			}
			if s.State != "LOGGED_IN" {
				state += ", session " + s.State
			}
			iface := strings.TrimPrefix(s.Iface, "pb-")
			all = append(all, path{iface: iface, nic: nicOf(e, iface), portal: s.Portal, disk: disk, state: state, session: s.ID})
		}
	}
	slices.SortFunc(all, func(a, b path) int { return strings.Compare(a.nic+a.portal, b.nic+b.portal) })
	return all
}

// nicOf is the NIC of an interface of the lab's node.
func nicOf(e *labenv.Env, iface string) string {
	if i := slices.Index(e.InterfaceNames(), iface); i >= 0 {
		return e.Net.NICs[i]
	}
	return ""
}

// pathStates gives device-mapper's and the checker's state of each disk.
func pathStates(e *labenv.Env) map[string]string {
	states := map[string]string{}
	for line := range strings.Lines(e.Multipathd("show paths raw format \"%d|%t|%T\"")) {
		if f := strings.Split(strings.TrimSpace(line), "|"); len(f) == 3 {
			states[strings.TrimSpace(f[0])] = strings.TrimSpace(f[1]) + " " + strings.TrimSpace(f[2])
		}
	}
	return states
}

func sessionDisks(session int) []string {
	var disks []string
	dirs, _ := filepath.Glob(fmt.Sprintf("/sys/class/iscsi_session/session%d/device/target*/*/block/*", session))
	for _, dir := range dirs {
		disks = append(disks, filepath.Base(dir))
	}
	return disks
}

func active(all []path) (n int) {
	for _, p := range all {
		if strings.HasPrefix(p.state, "active") {
			n++
		}
	}
	return n
}

// traffic measures bytes written per disk and sent per NIC between two moments.
type traffic struct {
	e    *labenv.Env
	nics []string
	at   time.Time
	disk map[string]uint64
	nic  map[string]uint64
}

// sample takes the counters as they are now.
func sample(e *labenv.Env, nics []string) *traffic {
	t := &traffic{e: e, nics: nics, at: time.Now(), disk: map[string]uint64{}, nic: map[string]uint64{}}
	for _, d := range labenv.Disks() {
		t.disk[d] = writtenBytes(d)
	}
	for _, n := range nics {
		_, t.nic[n] = e.Bytes(n)
	}
	return t
}

// writtenBytes reads the disk's counter of written sectors of 512 bytes (Documentation/block/stat.rst).
func writtenBytes(disk string) uint64 {
	data, err := os.ReadFile("/sys/block/" + disk + "/stat")
	f := strings.Fields(string(data))
	if err != nil || len(f) < 7 {
		return 0
	}
	sectors, _ := strconv.ParseUint(f[6], 10, 64)
	return sectors * 512
}

// diskRate and nicRate are in MB/s since the sample.
func (t *traffic) diskRate(disk string) float64 {
	return mib(writtenBytes(disk)-t.disk[disk]) / time.Since(t.at).Seconds()
}

func (t *traffic) nicRate(nic string) float64 {
	return mib(t.sent()[nic]) / time.Since(t.at).Seconds()
}

// sent is what each NIC has sent since the sample, in bytes.
func (t *traffic) sent() map[string]uint64 {
	now := map[string]uint64{}
	for _, n := range t.nics {
		_, tx := t.e.Bytes(n)
		now[n] = tx - t.nic[n]
	}
	return now
}

// total is what all NICs have sent, in bytes.
func total(sent map[string]uint64) (sum uint64) {
	for n := range maps.Values(sent) {
		sum += n
	}
	return sum
}

// shares is what part of all bytes each NIC has sent since the sample, 0 to 1.
func (t *traffic) shares() map[string]float64 {
	sent, shares := t.sent(), map[string]float64{}
	sum := max(1, total(sent))
	for nic, n := range sent {
		shares[nic] = float64(n) / float64(sum)
	}
	return shares
}

// printPaths prints the path table with the rates since the sample.
func printPaths(s *screen, e *labenv.Env, since *traffic) {
	var rows [][]string
	for _, p := range paths(e) {
		rows = append(rows, []string{
			p.iface, p.nic, p.portal, fmt.Sprint("session", p.session), p.disk, p.state, fmt.Sprintf("%6.1f", since.diskRate(p.disk)),
		})
	}
	s.Table([]string{"INTERFACE", "NIC", "PORTAL", "SESSION", "DISK", "STATE", "MB/s"}, rows)
	shares := since.shares()
	for _, nic := range since.nics {
		s.Say("  %-6s %s %6.1f MB/s  %3.0f %%", nic, bar(shares[nic]), since.nicRate(nic), 100*shares[nic])
	}
}
