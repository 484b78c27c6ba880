package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindGuests(t *testing.T) {
	tests := []struct {
		name, text string
		want       clusterSpec
		fails      bool
	}{
		{name: "empty", text: "# nothing\n\n"},
		{name: "defaults", text: "node1 # a node", want: clusterSpec{guests: []guestSpec{{name: "node1", mem: "2G", nics: 2}}}},
		{
			name: "all", text: "fabric separate\ntarget mem=1G nics=4 disk=8G disk=512M\n",
			want: clusterSpec{separate: true, guests: []guestSpec{{name: "target", mem: "1G", nics: 4, disks: []string{"8G", "512M"}}}},
		},
		{name: "unknown key", text: "node1 cpus=2", fails: true},
		{name: "too many NICs", text: "node1 nics=9", fails: true},
		{name: "bad name", text: "Node_1", fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, guestsFile), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := findGuests(dir, "2G")
			if (err != nil) != tt.fails {
				t.Fatalf("got error %v", err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(clusterSpec{}, guestSpec{})); !tt.fails && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoGuestsFile(t *testing.T) {
	got, err := findGuests(t.TempDir(), "2G")
	if err != nil || len(got.guests) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBytesOf(t *testing.T) {
	for size, want := range map[string]int64{"512M": 512 << 20, "8G": 8 << 30} {
		if got, err := bytesOf(size); err != nil || got != want {
			t.Errorf("%s: got %d, %v", size, got, err)
		}
	}
	for _, size := range []string{"", "8", "G", "-1G", "8T"} {
		if _, err := bytesOf(size); err == nil {
			t.Errorf("%q: no error", size)
		}
	}
}
