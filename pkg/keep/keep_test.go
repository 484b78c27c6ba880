package keep

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	var got map[string]int
	if found, err := Load(path, &got); found || err != nil {
		t.Errorf("nothing saved yet: %v, %v", found, err)
	}
	for n, save := range []func(string, any) error{Hand, Save} {
		if err := save(path, map[string]int{"a": n}); err != nil {
			t.Fatal(err)
		}
		if found, err := Load(path, &got); !found || err != nil || got["a"] != n {
			t.Errorf("got %v, %v, %v", got, found, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	failsToSave(t, path)
	if found, err := Load(path, &got); !found || err != nil || got["a"] != 1 {
		t.Errorf("after a failure: %v, %v, %v", got, found, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, &got); err == nil {
		t.Error("half a file was taken")
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	}
	if err := Save(filepath.Join(path, "no", "such"), 1); err == nil {
		t.Error("saved nowhere")
	}
}

// failsToSave has somebody put a link where Save writes: it is not followed, and taken away.
func failsToSave(t *testing.T, path string) {
	t.Helper()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, map[string]int{"a": 2}); err == nil {
		t.Error("followed a link")
	}
	for _, name := range []string{victim, path + ".tmp"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}
