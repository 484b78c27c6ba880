package lvmthin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/target/pool"
)

func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		field, value, reason, words string
		severity                    pool.Severity
	}{
		"well":        {"data_percent", "84.99", "", "", 0},
		"data":        {"data_percent", "85.00", "ThinPoolDataNearlyFull", "lvextend -L +SIZE vg/pool", pool.Degraded},
		"metadata":    {"metadata_percent", "80.00", "ThinPoolMetadataNearlyFull", "--poolmetadatasize", pool.Degraded},
		"vg metadata": {"vg_mda_free", "6000000", "VolumeGroupMetadataNearlyFull", "82.4 %", pool.Degraded},
		"out of data": {"lv_health_status", "out_of_data", "ThinPoolOutOfData", "is full", pool.Inaccessible},
		"failed":      {"lv_health_status", "failed", "ThinPoolFailed", "lvmthin(7)", pool.Inaccessible},
		"partial":     {"lv_health_status", "partial", "ThinPoolPartial", "lacks a disk", pool.Degraded},
		"new state":   {"lv_health_status", "dusty", "ThinPoolUnwell", `"dusty"`, pool.Degraded},
		"inactive":    {"lv_active", "", "ThinPoolInactive", "lvchange -ay vg/pool", pool.Inaccessible},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := newPool(t)
			p.cfg.Limits.WarnData, p.cfg.Limits.WarnMetadata = 0.85, 0.8
			f.status[tt.field] = tt.value
			found := must[[]pool.Problem](t)(p.Problems(t.Context()))
			if tt.reason == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Reason != tt.reason || found[0].Severity != tt.severity ||
				!strings.Contains(found[0].Message, tt.words) || strings.Contains(found[0].Message, "%!") {
				t.Errorf("found %+v", found)
			}
		})
	}
}

// TestSeveralProblems: both are said, and neither any more once there is room.
func TestSeveralProblems(t *testing.T) {
	p, f := newPool(t)
	p.cfg.Limits.WarnData = 0.85
	now := time.Now()
	p.now = func() time.Time { return now }
	f.status["lv_health_status"], f.status["data_percent"] = "out_of_data", "100.00"
	if found := must[[]pool.Problem](t)(p.Problems(t.Context())); len(found) != 2 {
		t.Errorf("found %+v", found)
	}
	f.status["lv_health_status"], f.status["data_percent"] = "", "10.00"
	now = now.Add(2 * usageAge)
	if found := must[[]pool.Problem](t)(p.Problems(t.Context())); len(found) != 0 {
		t.Errorf("after it was extended: %+v", found)
	}
}

func TestActive(t *testing.T) {
	p, _ := newPool(t)
	p.group.lvm.vg = ".." + t.TempDir()
	if err := os.WriteFile(filepath.Join("/dev", p.group.lvm.vg, "pbv_a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": true, "b": false} {
		if active, err := p.Active(name); err != nil || active != want {
			t.Errorf("%s: %v, %v", name, active, err)
		}
	}
}
