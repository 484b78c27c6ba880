//go:build lab

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/test/lab/labenv"
)

// bench are file systems on loop devices: everything of fsmount that needs a kernel and no iSCSI.
type bench struct {
	*labenv.Env
	t    *testing.T
	fs   *fsmount.FS
	ran  []string // programs that fsmount started
	took []string // and how long each ran
	dir  string
	next int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Env: labenv.New(t, labenv.Options{}), t: t, dir: "/dev/shm/" + strings.ReplaceAll(t.Name(), "/", "_")}
	b.fs = fsmount.New(b)
	b.check(os.MkdirAll(b.dir, 0o755))
	t.Cleanup(func() {
		for _, m := range slices.Backward(labenv.Mounts()) {
			if strings.HasPrefix(m, b.dir) {
				_ = unix.Unmount(m, unix.MNT_DETACH)
			}
		}
		_, _ = b.Try("sh", "-c", "dmsetup ls | awk '/^bench/ {print $1}' | xargs -r -n1 dmsetup remove --force; losetup -D")
		_ = os.RemoveAll(b.dir)
	})
	return b
}

// Run implements hostexec.Runner and counts.
func (b *bench) Run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	begin := time.Now()
	defer func() {
		b.ran = append(b.ran, name)
		b.took = append(b.took, fmt.Sprintf("%s %v", name, time.Since(begin).Round(time.Millisecond)))
	}()
	return hostexec.New(hostexec.Options{}).Run(ctx, stdin, name, args...)
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// image makes a sparse file and returns it and its loop device.
func (b *bench) image(size int64) (file, device string) {
	b.t.Helper()
	b.next++
	file = filepath.Join(b.dir, fmt.Sprintf("%d.img", b.next))
	b.check(os.WriteFile(file, nil, 0o600))
	b.check(os.Truncate(file, size))
	return file, b.loop(file)
}

func (b *bench) loop(file string) string {
	b.t.Helper()
	return strings.TrimSpace(b.Env.Run("losetup", "-f", "--show", file))
}

// clone copies an image as it is on the "disk" now, as a snapshot does, and makes it larger.
func (b *bench) clone(file string, more int64) (string, string) {
	b.t.Helper()
	b.next++
	copied := filepath.Join(b.dir, fmt.Sprintf("%d.img", b.next))
	b.Env.Run("cp", "--sparse=always", file, copied)
	info, err := os.Stat(copied)
	b.check(err)
	b.check(os.Truncate(copied, info.Size()+more))
	return copied, b.loop(copied)
}

// mount does what a stage does, and returns the mount point.
func (b *bench) mount(device, fsType, wwid string) string {
	b.t.Helper()
	sb, err := b.fs.Prepare(b.t.Context(), fsmount.Prepare{Device: device, FSType: fsType, Begin: func(fsmount.UUID) error { return nil }})
	b.check(err)
	return b.mountSuper(device, sb, wwid)
}

func (b *bench) mountSuper(device string, sb fsmount.Superblock, wwid string) string {
	b.t.Helper()
	b.next++
	target := filepath.Join(b.dir, fmt.Sprintf("mnt%d", b.next))
	b.check(os.Mkdir(target, 0o755))
	b.check(b.fs.Mount(b.t.Context(), fsmount.Mount{Device: device, Target: target, Super: sb, WWID: wwid}))
	size, err := fsmount.DeviceSize(device)
	b.check(err)
	if sb.Smaller(size) {
		b.check(b.fs.Grow(b.t.Context(), sb.FSType, device, target))
	}
	return target
}

// write writes a file through to the disk; on btrfs it is then in the log only.
func (b *bench) write(path, content string) {
	b.t.Helper()
	b.check(b.tryWrite(path, content))
}

func (b *bench) tryWrite(path, content string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func (b *bench) want(path, content string) {
	b.t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		b.t.Errorf("%s: %.40q, %v", path, got, err)
	}
}

const imageSize = 320 << 20

func types() []string { return []string{fsmount.Ext4, fsmount.XFS, fsmount.Btrfs} }

// A source in use, its clone and the clone's clone, each larger than the last, are mounted together on one node. What
// was synced is in all of them, and staging again starts no program.
func TestClonesTogether(t *testing.T) {
	for _, fsType := range types() {
		t.Run(fsType, func(t *testing.T) {
			b := newBench(t)
			file, device := b.image(imageSize)
			begin := time.Now()
			source := b.mount(device, fsType, "naa.1")
			t.Logf("%s: first stage %v: %v", fsType, time.Since(begin).Round(time.Millisecond), b.took)
			b.write(source+"/a", "in the source")
			cloneFile, cloneDevice := b.clone(file, 128<<20)
			b.ran, begin = nil, time.Now()
			clone := b.mount(cloneDevice, fsType, "naa.2")
			t.Logf("%s: clone %v: %v", fsType, time.Since(begin).Round(time.Millisecond), b.ran)
			b.want(clone+"/a", "in the source")
			b.write(clone+"/b", "in the clone")
			_, secondDevice := b.clone(cloneFile, 128<<20)
			second := b.mount(secondDevice, fsType, "naa.3")
			b.want(second+"/a", "in the source")
			b.want(second+"/b", "in the clone")
			for path, least := range map[string]int64{source: 256 << 20, clone: 384 << 20, second: 512 << 20} {
				if u, err := b.fs.Usage(path); err != nil || u.TotalBytes < least {
					t.Errorf("%s: %d bytes, %v", path, u.TotalBytes, err)
				}
			}
			for _, path := range []string{source, clone, second} {
				b.check(b.fs.Unmount(path))
			}
			b.ran = nil
			// In another order, and the clone before its source.
			begin = time.Now()
			for _, d := range []string{secondDevice, cloneDevice, device} {
				b.want(b.mount(d, fsType, "naa."+d)+"/a", "in the source")
			}
			t.Logf("%s: three staged again in %v", fsType, time.Since(begin).Round(time.Millisecond))
			if len(b.ran) > 0 {
				t.Errorf("staging again ran %v", b.ran)
			}
		})
	}
}

// TestBlankProof measures what the proof costs on a device of a common size.
func TestBlankProof(t *testing.T) {
	b := newBench(t)
	_, device := b.image(100 << 30)
	stop := errors.New("proven")
	begin := time.Now()
	_, err := b.fs.Prepare(t.Context(), fsmount.Prepare{Device: device, FSType: fsmount.Ext4, Begin: func(fsmount.UUID) error { return stop }})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	t.Logf("proven blank in %v: %v", time.Since(begin).Round(time.Millisecond), b.took)
}

// What is on the device already is never formatted, however little of it is there.
func TestNotBlankRefused(t *testing.T) {
	const size = 64 << 20
	b := newBench(t)
	tests := map[string][]string{
		"swap":         {"mkswap", "-q"},
		"lvm":          {"pvcreate", "-q", "-y"},
		"half a table": {"sh", "-c", `printf '\125\252' | dd of=$0 bs=1 seek=510 conv=notrunc status=none`},
		"end of a GPT": {"sh", "-c", `printf 'EFI PART' | dd of=$0 bs=512 seek=131071 conv=notrunc status=none`},
		"raw data":     {"sh", "-c", `dd if=/dev/urandom of=$0 bs=1M seek=20 count=16 conv=notrunc status=none`},
		"damaged ext4": {"sh", "-c", `mkfs.ext4 -q -F $0 && dd if=/dev/zero of=$0 bs=4k count=1 conv=notrunc status=none`},
		"ext3":         {"mkfs.ext3", "-q", "-F"},
	}
	for name, argv := range tests {
		t.Run(name, func(t *testing.T) {
			file, device := b.image(size)
			b.Env.Run(append(argv, device)...)
			b.Env.Run("sync")
			before := b.Env.Run("sha256sum", file)
			_, err := b.fs.Prepare(t.Context(), fsmount.Prepare{
				Device: device, FSType: fsmount.Ext4, Begin: func(fsmount.UUID) error { panic("formats") },
			})
			t.Log(err)
			if !errors.Is(err, fsmount.ErrNotBlank) && !errors.Is(err, fsmount.ErrOtherFS) {
				t.Errorf("got %v", err)
			}
			if after := b.Env.Run("sha256sum", file); after != before {
				t.Error("the device was changed")
			}
		})
	}
	t.Run("mounted elsewhere", func(t *testing.T) {
		_, device := b.image(imageSize)
		holder, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
		b.check(err)
		defer holder.Close()
		_, err = b.fs.Prepare(t.Context(), fsmount.Prepare{Device: device, FSType: fsmount.Ext4})
		if !errors.Is(err, fsmount.ErrInUse) {
			t.Errorf("got %v", err)
		}
	})
}

// mkfs is killed at writes spread over its whole run; the next call converges from what the record says, and without
// the record refuses what is there.
func TestKilledMkfsConverges(t *testing.T) {
	for _, fsType := range types() {
		t.Run(fsType, func(t *testing.T) {
			b := newBench(t)
			whole := &writeKiller{}
			b.killMkfs(fsType, whole)
			partial, kills := 0, 0
			for _, nth := range []int{1, 2, 3, whole.writes / 4, whole.writes / 2, whole.writes - 2, whole.writes - 1, whole.writes} {
				kills++
				if b.killMkfs(fsType, &writeKiller{nth: nth}) {
					partial++
				}
			}
			t.Logf("%s: %d writes; of %d kills %d left the device half formatted", fsType, whole.writes, kills, partial)
			if partial == 0 {
				t.Error("no kill came in the middle")
			}
		})
	}
}

// killMkfs kills one mkfs and lets the next call finish. It says whether there was anything on the device without it
// being a file system.
func (b *bench) killMkfs(fsType string, killer *writeKiller) (halfway bool) {
	b.t.Helper()
	file, device := b.image(imageSize)
	defer func() { b.Env.Run("losetup", "-d", device); b.check(os.Remove(file)) }()
	var began *fsmount.UUID
	p := fsmount.Prepare{Device: device, FSType: fsType, Begin: func(u fsmount.UUID) error { began = &u; return nil }}
	_, err := fsmount.New(killer).Prepare(b.t.Context(), p)
	if err == nil {
		return false
	}
	if !errors.Is(err, errKilled) {
		b.t.Fatal(err)
	}
	found, err := b.fs.Recognize(device)
	b.check(err)
	if len(found) == 0 {
		refuse := fsmount.Prepare{Device: device, FSType: fsType, Begin: func(fsmount.UUID) error { return errors.New("blank") }}
		_, err := b.fs.Prepare(b.t.Context(), refuse)
		halfway = errors.Is(err, fsmount.ErrNotBlank)
		if err == nil {
			b.t.Error("prepared without a record")
		}
	}
	p.Began = began
	sb, err := b.fs.Prepare(b.t.Context(), p)
	if err != nil || sb.UUID != *began {
		b.t.Errorf("killed at write %d: %v, %v", killer.nth, sb, err)
		return halfway
	}
	b.check(b.fs.Unmount(b.mountSuper(device, sb, "naa.1")))
	return halfway
}

// A device that fails under a mounted file system is noticed, and an ext4 is repaired when it is staged again.
func TestBrokenNoticed(t *testing.T) {
	for _, fsType := range types() {
		t.Run(fsType, func(t *testing.T) {
			b := newBench(t)
			_, loop := b.image(imageSize)
			sectors := imageSize / 512
			b.Env.Run("dmsetup", "create", "bench0", "--table", fmt.Sprintf("0 %d linear %s 0", sectors, loop))
			const device = "/dev/mapper/bench0"
			b.Eventually(10*time.Second, device, func() bool { _, err := os.Stat(device); return err == nil })
			path := b.mount(device, fsType, "naa.1")
			b.write(path+"/a", "before")
			b.check(b.fs.Broken(b.top(path), false))
			b.reload(device, fmt.Sprintf("0 %d error", sectors))
			// An application's writes fail at once. The file system notices when it next writes metadata.
			b.Eventually(10*time.Second, "damage noticed", func() bool {
				b.next++
				_ = os.Mkdir(fmt.Sprintf("%s/d%d", path, b.next), 0o755)
				b.syncfs(path)
				return errors.Is(b.fs.Broken(b.top(path), false), fsmount.ErrDamaged)
			})
			t.Log(b.fs.Broken(b.top(path), false))
			b.reload(device, fmt.Sprintf("0 %d linear %s 0", sectors, loop))
			b.check(b.fs.Unmount(path))
			again := b.mount(device, fsType, "naa.1")
			b.want(again+"/a", "before")
			b.check(b.fs.Broken(b.top(again), false))
			b.check(b.fs.Unmount(again))
		})
	}
}

// reload changes the table below a mounted file system, as a failing device does: without flushing or freezing it.
func (b *bench) reload(device, table string) {
	b.t.Helper()
	b.Env.Run("dmsetup", "load", device, "--table", table)
	b.Env.Run("dmsetup", "suspend", "--nolockfs", "--noflush", device)
	b.Env.Run("dmsetup", "resume", device)
}

// syncfs writes a file system's metadata, or tries to.
func (b *bench) syncfs(path string) {
	dir, err := os.Open(path)
	if err != nil {
		return
	}
	defer dir.Close()
	_ = unix.Syncfs(int(dir.Fd()))
}

func (b *bench) top(path string) fsmount.Point {
	b.t.Helper()
	points, err := b.fs.At(path)
	if err != nil || len(points) != 1 {
		b.t.Fatalf("%v at %s, %v", points, path, err)
	}
	return points[0]
}

// An ext4 in which the kernel noted an error is checked before it is mounted.
func TestErrorFlagChecked(t *testing.T) {
	b := newBench(t)
	_, device := b.image(imageSize)
	b.check(b.fs.Unmount(b.mount(device, fsmount.Ext4, "naa.1")))
	b.Env.Run("debugfs", "-w", "-R", "ssv state 3", device)
	b.ran = nil
	b.check(b.fs.Unmount(b.mount(device, fsmount.Ext4, "naa.1")))
	if !slices.Equal(b.ran, []string{"e2fsck"}) {
		t.Errorf("ran %v", b.ran)
	}
	b.ran = nil
	b.check(b.fs.Unmount(b.mount(device, fsmount.Ext4, "naa.1")))
	if len(b.ran) > 0 {
		t.Errorf("the second time ran %v", b.ran)
	}
}

// A write-protected device with a log to replay is mounted without the replay.
func TestReadOnlyDevice(t *testing.T) {
	for _, fsType := range types() {
		t.Run(fsType, func(t *testing.T) {
			b := newBench(t)
			file, device := b.image(imageSize)
			path := b.mount(device, fsType, "naa.1")
			b.write(path+"/a", "a")
			copied, _ := b.clone(file, 0)
			b.check(b.fs.Unmount(path))
			ro := strings.TrimSpace(b.Env.Run("losetup", "-r", "-f", "--show", copied))
			found, err := b.fs.Recognize(ro)
			if err != nil || len(found) != 1 {
				t.Fatalf("%v, %v", found, err)
			}
			target := b.dir + "/ro"
			b.check(os.Mkdir(target, 0o755))
			m := fsmount.Mount{Device: ro, Target: target, Super: found[0], Options: fsmount.Options{}.WithReadOnly(), WWID: "naa.2"}
			if fsType == fsmount.Btrfs {
				b.outdated(m, device)
			}
			b.check(b.fs.Mount(t.Context(), m))
			if !b.top(target).SuperReadOnly() {
				t.Error("writable")
			}
			m.Options = fsmount.Options{}
			m.Target = b.dir + "/rw"
			b.check(os.Mkdir(m.Target, 0o755))
			if err := b.fs.Mount(t.Context(), m); err == nil && !b.top(m.Target).SuperReadOnly() {
				t.Error("mounted read-write")
			}
		})
	}
}

// outdated: a kernel that knows the original of a btrfs as it was after the copy, though no longer mounted, takes no copy of before, and
// a write-protected one cannot be given another identifier. It is told to forget the original, as the error says.
func (b *bench) outdated(m fsmount.Mount, original string) {
	b.t.Helper()
	b.Env.Run("udevadm", "settle") // it scans as well
	b.Env.Run("btrfs", "device", "scan", original)
	err := b.fs.Mount(b.t.Context(), m)
	if !errors.Is(err, fsmount.ErrInUse) || !strings.Contains(err.Error(), "btrfs device scan --forget") {
		b.t.Errorf("beside the original: %v", err)
	}
	b.Env.Run("btrfs", "device", "scan", "--forget", original)
}

// Bind mounts carry their options, converge, and leave nothing behind; a block node is the device.
func TestBind(t *testing.T) {
	b := newBench(t)
	_, device := b.image(imageSize)
	source := b.mount(device, fsmount.Ext4, "naa.1")
	target := b.dir + "/target"
	o, err := fsmount.ParseOptions([]string{"noexec", "ro"})
	b.check(err)
	b.check(b.fs.BindDir(source, target, o))
	if p := b.top(target); !p.Covers(o) || p.SuperReadOnly() || b.top(source).ReadOnly() {
		t.Errorf("%+v", p)
	}
	if err := os.WriteFile(target+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
	b.check(b.fs.RemoveTarget(target))
	b.check(b.fs.RemoveTarget(target))
	b.check(os.Mkdir(target, 0o755))
	b.check(os.WriteFile(target+"/precious", []byte("x"), 0o600))
	if err := b.fs.RemoveTarget(target); err == nil {
		t.Error("deleted somebody's directory")
	}

	var st unix.Stat_t
	b.check(unix.Stat(device, &st))
	node := b.dir + "/node"
	b.check(b.fs.BindDevice(device, node, unix.Major(st.Rdev), unix.Minor(st.Rdev), false))
	if !b.fs.IsDevice(node, unix.Major(st.Rdev), unix.Minor(st.Rdev)) {
		t.Error("not the device")
	}
	b.check(b.fs.RemoveTarget(node))
	if _, err := os.Lstat(node); err == nil {
		t.Error("left over")
	}
	if err := b.fs.BindDevice(device, node, 250, 250, false); !errors.Is(err, fsmount.ErrTarget) || len(must(b.fs.At(node))) > 0 {
		t.Errorf("another device than expected: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
