package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/hostexec"
)

// programs answers by name and panics at others.
type programs map[string]string

func (p programs) Run(_ context.Context, _ []byte, name string, args ...string) ([]byte, error) {
	out, ok := p[name]
	if !ok {
		panic("unexpected program " + name)
	}
	if out == "fail" {
		return nil, &hostexec.Error{Name: name, Args: args, ExitCode: 1, Stderr: "Module not found"}
	}
	return []byte(out), nil
}

// machine makes a host of files; a name that ends in / is a directory.
func machine(t *testing.T, p programs, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path, dir := filepath.Join(root, name), strings.HasSuffix(name, "/")
		parent := filepath.Dir(path)
		if dir {
			parent = path
		}
		if err := os.MkdirAll(parent, 0o700); err != nil {
			t.Fatal(err)
		}
		if dir {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root, Runner: p}
}

const showInactive = "Id=rtslib-fb-targetctl.service\nActiveState=inactive\n\nId=target.service\nActiveState=inactive\n"

const saveconfig = `{"fabric_modules":[],"storage_objects":[{"name":"d","plugin":"block"}],
"targets":[{"fabric":"iscsi","wwn":"iqn.2003-01.org.linux-iscsi:x","tpgs":[]},{"fabric":"loopback","wwn":"naa.1"}]}`

func TestRTSLib(t *testing.T) {
	systemd := map[string]string{"run/systemd/system/": ""}
	for name, tt := range map[string]struct {
		files  map[string]string
		show   string
		refuse string
	}{
		"none":                {files: systemd, show: showInactive},
		"no systemd":          {},
		"active":              {files: systemd, show: strings.Replace(showInactive, "inactive", "active", 1), refuse: "rtslib-fb-targetctl.service is active"},
		"enabled":             {files: map[string]string{"etc/systemd/system/multi-user.target.wants/target.service": ""}, refuse: "target.service is enabled"},
		"saved, not restored": {files: map[string]string{"etc/rtslib-fb-target/saveconfig.json": saveconfig}},
		"restored": {files: map[string]string{
			"etc/target/saveconfig.json": saveconfig, "sys/kernel/config/target/iscsi/iqn.2003-01.org.linux-iscsi:x/": "",
		}, refuse: "saveconfig.json is in the kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			h := machine(t, programs{"systemctl": tt.show}, tt.files)
			err := h.CheckRTSLib(t.Context())
			if tt.refuse == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrRTSLib) || !strings.Contains(err.Error(), tt.refuse) || !strings.Contains(err.Error(), "systemctl disable") {
				t.Errorf("got %v, want %q", err, tt.refuse)
			}
		})
	}
}

func TestPrepare(t *testing.T) {
	loaded := map[string]string{"sys/kernel/config/target/": ""}
	for _, m := range modules {
		loaded["sys/module/"+m+"/"] = ""
	}
	if err := machine(t, nil, loaded).Prepare(t.Context()); err != nil {
		t.Errorf("everything is there: %v", err)
	}
	delete(loaded, "sys/module/dm_thin_pool/")
	err := machine(t, programs{"modprobe": "fail"}, loaded).Prepare(t.Context())
	if err == nil || !strings.Contains(err.Error(), "dm_thin_pool") || !strings.Contains(err.Error(), "install") {
		t.Errorf("got %v", err)
	}
	err = machine(t, programs{"modprobe": "fail"}, nil).CheckModules(t.Context())
	if err == nil || strings.Count(err.Error(), "not found:") != len(modules) {
		t.Errorf("got %v", err)
	}
}

func TestTools(t *testing.T) {
	err := machine(t, nil, map[string]string{"usr/sbin/lvs": "", "sbin/lvcreate": ""}).CheckTools()
	if err == nil || strings.Contains(err.Error(), "lvs not found") || !strings.Contains(err.Error(), "lvremove not found: install lvm2") ||
		!strings.Contains(err.Error(), "thin-provisioning-tools") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseSaved(f *testing.F) {
	f.Add([]byte(saveconfig))
	f.Add([]byte(`{"targets":[{"fabric":"iscsi","wwn":"../../x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := parseSaved(data)
		if err != nil {
			return
		}
		for _, n := range names {
			if !filepath.IsLocal(n) || !strings.HasPrefix(n, "iscsi") {
				t.Errorf("accepted %q", n)
			}
		}
	})
}
