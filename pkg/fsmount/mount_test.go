package fsmount

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// hold has another process open a file; the function ends it.
func hold(t *testing.T, path string) func() {
	t.Helper()
	// read waits for its input to end, which is when the pipe is closed.
	cmd := exec.Command("sh", "-c", `exec 3<>"$0"; echo ready; read -r _`, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

func TestParseOptions(t *testing.T) {
	tests := map[string]struct {
		list []string
		want Options
		bad  bool
	}{
		"none":       {},
		"generic":    {list: []string{"noatime,nodev", "rw"}, want: Options{Flags: unix.MS_NOATIME | unix.MS_NODEV}},
		"later wins": {list: []string{"ro", "rw"}},
		"data":       {list: []string{"discard", "commit=30", "discard"}, want: Options{Data: []string{"discard", "commit=30"}}},
		"SELinux": {
			list: []string{"noatime", `context="system_u:object_r:container_file_t:s0:c467,c957"`},
			want: Options{Flags: unix.MS_NOATIME, Data: []string{`context="system_u:object_r:container_file_t:s0:c467,c957"`}},
		},
		"quotes":       {list: []string{`context="a:b:c:s0",bind,"`}, bad: true},
		"for mount(8)": {list: []string{"defaults", "_netdev", "nofail"}},
		"newline":      {list: []string{"ro\nrw"}, bad: true},
		"dash":         {list: []string{"-o"}, bad: true},
		"empty":        {list: []string{""}, bad: true},
		"two commas":   {list: []string{"ro,,rw"}, bad: true},
		"bind":         {list: []string{"bind"}, bad: true},
		"remount":      {list: []string{"noatime,remount"}, bad: true},
		"journal_dev":  {list: []string{"journal_dev=8:1"}, bad: true},
		"device":       {list: []string{"device=/dev/sda"}, bad: true},
		"x-":           {list: []string{"X-mount.mkdir"}, bad: true},
		"long":         {list: []string{strings.Repeat("a", 10<<10)}, bad: true},
		"NUL":          {list: []string{"a\x00b"}, bad: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseOptions(tc.list)
			if (err != nil) != tc.bad || (tc.bad && !errors.Is(err, ErrOption)) {
				t.Fatalf("err %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("noatime,commit=5")
	f.Add("-o,\n")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOptions([]string{s})
		if err != nil {
			return
		}
		for _, d := range o.Data {
			if contextForm.MatchString(d) {
				continue
			}
			if strings.ContainsAny(d, ", \t\n\x00\"\\") || strings.HasPrefix(d, "-") {
				t.Errorf("%q passed", d)
			}
		}
	})
}

const mountTable = `21 28 0:20 / /proc rw,nosuid - proc proc rw
97 28 253:3 / /var/lib/kubelet/plugins/x/globalmount rw,relatime shared:52 - ext4 /dev/mapper/36001405 rw,errors=remount-ro
98 28 0:45 / /var/lib/kubelet/a\040b ro,nosuid,noatime shared:53 master:1 - btrfs /dev/mapper/36001406 rw,ssd
99 28 0:5 /dm-4 /var/lib/kubelet/dev rw - devtmpfs  rw,size=1k
`

func TestParseMountInfo(t *testing.T) {
	got, err := parseMountInfo(mountTable)
	if err != nil {
		t.Fatal(err)
	}
	want := []Point{
		{Path: "/proc", Root: "/", Minor: 20, FSType: "proc", Source: "proc", Options: []string{"rw", "nosuid"}, Super: []string{"rw"}},
		{
			Path: "/var/lib/kubelet/plugins/x/globalmount", Root: "/", Major: 253, Minor: 3, FSType: "ext4",
			Source: "/dev/mapper/36001405", Options: []string{"rw", "relatime"}, Super: []string{"rw", "errors=remount-ro"},
		},
		{
			Path: "/var/lib/kubelet/a b", Root: "/", Minor: 45, FSType: "btrfs", Source: "/dev/mapper/36001406",
			Options: []string{"ro", "nosuid", "noatime"}, Super: []string{"rw", "ssd"},
		},
		{Path: "/var/lib/kubelet/dev", Root: "/dm-4", Minor: 5, FSType: "devtmpfs", Options: []string{"rw"}, Super: []string{"rw", "size=1k"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := parseMountInfo("nonsense\n"); !errors.Is(err, errMountInfo) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add(mountTable)
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseMountInfo(s) })
}

func TestCovers(t *testing.T) {
	tests := map[string]struct {
		options []string
		want    Options
		ok      bool
	}{
		"plain":            {options: []string{"rw", "relatime"}, ok: true},
		"wanted ro, is rw": {options: []string{"rw"}, want: Options{}.WithReadOnly()},
		"wanted rw, is ro": {options: []string{"ro"}},
		"ro":               {options: []string{"ro", "nosuid"}, want: Options{}.WithReadOnly(), ok: true},
		"lacks noexec":     {options: []string{"rw"}, want: Options{Flags: unix.MS_NOEXEC}},
	}
	for name, tc := range tests {
		if got := (Point{Options: tc.options}).Covers(tc.want); got != tc.ok {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestSmaller(t *testing.T) {
	sb := Superblock{SizeBytes: 1 << 20, BlockSize: 4096}
	if sb.Smaller(1<<20+4095) || !sb.Smaller(1<<20+4096) {
		t.Error("one block decides")
	}
}
