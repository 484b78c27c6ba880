//go:build lab

package attach

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

func TestTrial(t *testing.T) {
	ctx := context.Background()
	fs := sysfs.Default
	mon, err := sysfs.NewMonitor()
	if err != nil {
		t.Log(err)
	}
	dm := multipath.NewDM("/dev")
	c := multipath.NewClient()
	if err := dm.Ready(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready:", c.Ready(ctx))
	ss, _ := fs.Sessions()
	n, _ := strconv.Atoi(os.Getenv("ITER"))
	for it := 0; it < n; it++ {
		lun := it % 4
		t0 := time.Now()
		ph := func(s string) { fmt.Printf("  %-30s %7.1f ms\n", s, float64(time.Since(t0).Microseconds())/1000) }
		fmt.Println("iter", it, "lun", lun, t0.Format("15:04:05.000"))
		var wg sync.WaitGroup
		for _, s := range ss {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if err := fs.ScanLUN(s.Host, lun); err != nil {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		ph("scan")
		var disks []sysfs.Disk
		if err := mon.Until(ctx, func() (bool, error) {
			disks = nil
			for _, s := range ss {
				if d, err := fs.SessionLUN(s.ID, lun); err == nil {
					disks = append(disks, d)
				}
			}
			return len(disks) == len(ss), nil
		}); err != nil {
			t.Fatal(err)
		}
		ph("disks")
		id, ok := multipath.ID(disks[0].WWID)
		if !ok {
			t.Fatal(disks)
		}
		var g []multipath.Devno
		for _, d := range disks {
			g = append(g, multipath.Devno{Major: d.Major, Minor: d.Minor})
		}
		if os.Getenv("WWIDS") != "" {
			if err := multipath.HostWWIDs().Add(ctx, id); err != nil {
				t.Fatal(err)
			}
			ph("wwids")
		}
		info, hold, err := dm.Create(id, multipath.Table{Sectors: uint64(disks[0].SizeBytes / 512), Groups: [][]multipath.Devno{g}})
		if err != nil {
			t.Fatal(err)
		}
		ph("create")
		if err := dm.EnsureLink(info); err != nil {
			t.Fatal(err)
		}
		ph("link")
		f, err := os.Open(dm.Path(id))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		if _, err := f.Read(b); err != nil {
			t.Fatal(err)
		}
		f.Close()
		ph("read")
		if os.Getenv("ADDMAP") != "" {
			err := c.AddMap(ctx, id)
			ph(fmt.Sprintf("add map %v", err))
		}
		last := ""
		for {
			m, err := c.Map(ctx, id)
			s := ""
			if err != nil {
				s = err.Error()
			}
			ready := 0
			for _, p := range m.Paths() {
				s += " " + p.Disk + ":" + p.DMState + ":" + p.Checker
				if p.Checker == "ready" && p.DMState == "active" {
					ready++
				}
			}
			st, _ := dm.PathStates(info.UUID)
			k := 0
			for _, x := range st {
				if x.Active {
					k++
				}
			}
			s += fmt.Sprintf(" kernel %d/%d", k, len(st))
			if s != last {
				ph(s)
				last = s
			}
			if ready == 4 {
				break
			}
			time.Sleep(5 * time.Millisecond)
			if time.Since(t0) > 30*time.Second {
				t.Error("not adopted")
				break
			}
		}
		if w := os.Getenv("WATCH"); w != "" && it%2 == 1 {
			d, _ := time.ParseDuration(w)
			last := ""
			for t1 := time.Now(); time.Since(t1) < d; time.Sleep(3 * time.Millisecond) {
				kt, err := dm.Table(info.UUID)
				s := fmt.Sprint("watch: ", kt, err)
				if s != last {
					ph(s)
					last = s
				}
			}
		}
		if w := os.Getenv("SETTLE"); w != "" {
			d, _ := time.ParseDuration(w)
			time.Sleep(d)
			kt, _ := dm.Table(info.UUID)
			ph(fmt.Sprintf("settled; kernel paths %d queue %v", len(kt.Paths()), kt.Queue))
			m, _ := c.Map(ctx, id)
			ph(fmt.Sprintf("%+v", m))
		}
		t0 = time.Now()
		hold.Release()
		if err := dm.FailIO(info.UUID); err != nil {
			t.Error(err)
		}
		if err := dm.RemoveUnused(ctx, info.UUID, 20*time.Second); err != nil {
			t.Error(err)
		}
		ph("detach: removed")
		dm.DropLink(info)
		for _, d := range disks {
			wg.Add(1)
			go func() { defer wg.Done(); fs.DeleteDisk(d.Name) }()
		}
		wg.Wait()
		ph("detach: deleted")
		for {
			ps, err := c.KnownPaths(ctx)
			_, merr := c.Map(ctx, id)
			_, kerr := dm.Find(info.UUID)
			s := fmt.Sprint("detach: known ", ps, err, merr, kerr)
			if s != last {
				ph(s)
				last = s
			}
			if len(ps) == 0 && merr != nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
			if time.Since(t0) > 30*time.Second {
				t.Error("not dropped")
				break
			}
		}
	}
}
