package doctor

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConf(t *testing.T) {
	got := parseConf("# one\ndefaults {\n  find_multipaths strict # two\n path_selector \"service-time 0\"\n}\n}\nblacklist {\n" +
		"  ! three\n  devnode \"!^sd[a-z]\"\n  device {\n    vendor \"A#B\"\n  }\n")
	want := []conf{
		{key: "defaults", inner: []conf{{key: "find_multipaths", value: "strict"}, {key: "path_selector", value: "service-time 0"}}},
		{key: "blacklist", inner: []conf{
			{key: "devnode", value: "!^sd[a-z]"},
			{key: "device", inner: []conf{{key: "vendor", value: "A#B"}}},
		}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(conf{})); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add("blacklist {\n wwid \".*\"\n}\n}\n{\n")
	f.Add("{ } \" {")
	f.Fuzz(func(_ *testing.T, text string) {
		all := parseConf(text)
		blacklisted(all, lun{"sda", "3600", "V", "P"})
		ownDevice(all, "V")
	})
}

// What multipathd 0.9.4 printed in the lab, with our section.
func TestRealConf(t *testing.T) {
	raw, err := os.ReadFile("testdata/show-config-0.9.4.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := parseConf(string(raw))
	if got := value(within(all, "defaults"), "find_multipaths"); got != "strict" {
		t.Errorf("find_multipaths is %q", got)
	}
	if got := value(ownDevice(all, "PORTBIND"), "no_path_retry"); got != "queue" {
		t.Errorf("no_path_retry is %q", got)
	}
	if rule := blacklisted(all, lun{"sda", "360014050000000000000000000000001", "PORTBIND", "thin-volume"}); rule != "" {
		t.Errorf("our LUNs are blacklisted by %s", rule)
	}
	if rule := blacklisted(all, lun{"sr0", "1QEMU", "QEMU", "DVD-ROM"}); rule == "" {
		t.Error("CD drives are not blacklisted")
	}
}
