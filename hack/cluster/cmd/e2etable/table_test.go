package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Cut from ginkgo's reports of two runs on the lab's cluster.
const (
	firstRun = `[{"SpecReports": [
{"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
{"ContainerHierarchyTexts": ["External Storage [Driver: iscsi.portbind.io]", "[Testpattern: Dynamic PV (xfs)] [Slow] volume-expand"],
 "LeafNodeText": "grows", "LeafNodeType": "It", "State": "failed", "StartTime": "2026-11-22T17:00:00Z", "Failure": {"Message": "too small\nindeed"}},
{"ContainerHierarchyTexts": ["External Storage [Driver: iscsi.portbind.io]", "[Testpattern: Inline-volume (default fs)] volumes"],
 "LeafNodeText": "stores", "LeafNodeType": "It", "State": "skipped", "StartTime": "2026-11-22T17:00:00Z", "Failure": {"Message": "no such type"}},
{"ContainerHierarchyTexts": ["External Storage [Driver: iscsi.portbind.io]", "[Testpattern: Dynamic PV (default fs)] volumes"],
 "LeafNodeText": "stores", "LeafNodeType": "It", "State": "skipped", "StartTime": "0001-01-01T00:00:00Z"},
{"ContainerHierarchyTexts": ["[sig-storage] CSI Mock"], "LeafNodeText": "mocks", "LeafNodeType": "It", "State": "skipped"}
]}]`
	secondRun = `[{"SpecReports": [
{"ContainerHierarchyTexts": ["External Storage [Driver: iscsi.portbind.io]", "[Testpattern: Dynamic PV (xfs)] [Slow] volume-expand"],
 "LeafNodeText": "grows", "LeafNodeType": "It", "State": "passed", "StartTime": "2026-11-22T18:00:00Z"},
{"ContainerHierarchyTexts": ["External Storage [Driver: iscsi.portbind.io]", "[Testpattern: Inline-volume (default fs)] volumes"],
 "LeafNodeText": "stores", "LeafNodeType": "It", "State": "skipped", "StartTime": "2026-11-22T18:00:00Z"}
]}]`
)

func tableOf(t *testing.T, runs ...string) string {
	t.Helper()
	all := results{}
	for _, run := range runs {
		if err := all.add(strings.NewReader(run)); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	all.print(&out)
	return out.String()
}

func TestOneRun(t *testing.T) {
	want := `| suite | pattern | passed | failed | skipped | left out |
|---|---|---|---|---|---|
| volume-expand | Dynamic PV (xfs) | | 1 | | |
| volumes | Dynamic PV (default fs) | | | | 1 |
| volumes | Inline-volume (default fs) | | | 1 | |
| **all** | | | 1 | 1 | 1 |

Failed:

- volume-expand, Dynamic PV (xfs): grows (failed, too small)

Skipped:

- 1: no such type
`
	if diff := cmp.Diff(want, tableOf(t, firstRun)); diff != "" {
		t.Error(diff)
	}
}

// A later run counts, but not one that left a test out.
func TestLaterRuns(t *testing.T) {
	for _, runs := range [][]string{{firstRun, secondRun}, {secondRun, firstRun}} {
		text := tableOf(t, runs...)
		for _, line := range []string{
			"| volume-expand | Dynamic PV (xfs) | 1 | | | |\n", "| volumes | Inline-volume (default fs) | | | 1 | |\n", "| **all** | | 1 | | 1 | 1 |\n",
		} {
			if !strings.Contains(text, line) {
				t.Errorf("not in the table: %s\n%s", line, text)
			}
		}
	}
}
