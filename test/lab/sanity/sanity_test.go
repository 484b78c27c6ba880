//go:build lab

// Package sanity runs csi-sanity on the real driver: both plugins' binaries, portbind-targetd, LVM, the kernel's target
// and initiator, dm-multipath. What may be skipped is listed, with the reason; any other skip fails the run.
package sanity

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	// childAccess asks this test binary to be csi-sanity: Ginkgo runs once per process.
	childAccess = "PORTBIND_SANITY_ACCESS"
	// childConfig is the file with the rest of what the child has to know.
	childConfig = "PORTBIND_SANITY_CONFIG"

	volumeSize = 512 << 20
	expandSize = 768 << 20
)

// mayBeSkipped are parts of texts of specs, with the reason why they may be skipped: nothing that the driver claims.
var mayBeSkipped = map[string]string{
	"GroupController":            "GroupController comes with a later step",
	"VolumeHealth":               "volume health is not claimed",
	"StorageHealth":              "storage health is not claimed",
	"accessibility requirements": "topology is not claimed",
	// It takes 256 volumes; TestSanity of pkg/driver has it, on the fake backend.
	"node max attach limit": "csi-sanity leaves it out by default, for its length",
}

// childSettings is what a child is told.
type childSettings struct {
	Controller, Node, Secrets, Directory, JUnit string
	Parameters                                  map[string]string
}

func TestSanity(t *testing.T) {
	if os.Getenv(childAccess) != "" {
		t.Skip("this process is csi-sanity itself")
	}
	for _, access := range []string{"mount", "block"} {
		t.Run(access, func(t *testing.T) { runSanity(t, access) })
	}
}

// runSanity runs csi-sanity in a child and keeps its output.
func runSanity(t *testing.T, access string) {
	t.Helper()
	s := labenv.NewStack(t, labenv.StackOptions{
		Target: labenv.TargetOptions{CHAP: "required"},
		Node:   labenv.NodeOptions{Flags: []string{"-v", "10"}, Config: map[string]any{"sessionLinger": "1s"}},
	})
	dir := t.TempDir()
	settings := childSettings{
		Controller: "unix://" + s.Controller.Socket, Node: "unix://" + s.Node.Socket,
		Secrets: filepath.Join(dir, "secrets.yaml"), Directory: dir, JUnit: filepath.Join(s.Artefacts, "csi-sanity-"+access+".xml"),
		Parameters: map[string]string{"target": s.Target.Name, "interfaces": strings.Join(s.InterfaceNames(), ","), "minPaths": "2"},
	}
	writeYAML(t, settings.Secrets, map[string]any{
		"ControllerPublishVolumeSecret": secrets, "NodeStageVolumeSecret": secrets, "NodePublishVolumeSecret": secrets,
	})
	writeYAML(t, filepath.Join(dir, "settings.yaml"), settings)
	text := filepath.Join(s.Artefacts, "csi-sanity-"+access+".txt")
	output, err := runChild(t, access, filepath.Join(dir, "settings.yaml"), text)
	t.Logf("csi-sanity %s:\n%s\nall of it is in %s and %s", access, summary(output), text, settings.JUnit)
	if err != nil {
		t.Errorf("csi-sanity %s: %v", access, err)
	}
	for _, leak := range leaks(t, s) {
		t.Errorf("a secret is in %s", leak)
	}
	s.Tidy()
}

func writeYAML(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// runChild runs this test binary as csi-sanity. What it prints is kept in a file and shown as it comes.
func runChild(t *testing.T, access, config, text string) (output string, err error) {
	t.Helper()
	file, err := os.Create(text)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestChild$", "-test.v", "-test.timeout", "30m")
	cmd.Env = append(os.Environ(), childAccess+"="+access, childConfig+"="+config)
	cmd.WaitDelay = 5 * time.Second
	var buffer bytes.Buffer
	cmd.Stdout = io.MultiWriter(file, &buffer, os.Stdout)
	cmd.Stderr = cmd.Stdout
	err = cmd.Run()
	return buffer.String(), err
}

// summary is the end of what csi-sanity prints.
func summary(output string) string {
	lines := strings.Split(output, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "Summarizing") || strings.HasPrefix(l, "Ran ") {
			return strings.Join(lines[i:], "\n")
		}
	}
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// TestChild is csi-sanity, in a process of its own.
func TestChild(t *testing.T) {
	access := os.Getenv(childAccess)
	if access == "" {
		t.Skip("only as a child of TestSanity")
	}
	raw, err := os.ReadFile(os.Getenv(childConfig))
	if err != nil {
		t.Fatal(err)
	}
	var settings childSettings
	if err := yaml.UnmarshalStrict(raw, &settings); err != nil {
		t.Fatal(err)
	}
	cfg := sanity.NewTestConfig()
	cfg.Address, cfg.ControllerAddress, cfg.SecretsFile = settings.Node, settings.Controller, settings.Secrets
	cfg.TestVolumeAccessType, cfg.TestVolumeParameters = access, settings.Parameters
	cfg.TestVolumeMutableParameters = map[string]string{"pathSelector": "round-robin", "noPathRetry": "5m"}
	cfg.TestVolumeSize, cfg.TestVolumeExpandSize = volumeSize, expandSize
	cfg.TargetPath, cfg.StagingPath = filepath.Join(settings.Directory, "target"), filepath.Join(settings.Directory, "staging")

	sanity.GinkgoTest(&cfg)
	ginkgo.ReportAfterSuite("nothing that is claimed is skipped", checkSkips)
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Verbose, reporter.NoColor, reporter.JUnitReport = true, true, settings.JUnit
	ginkgo.RunSpecs(t, "csi-sanity "+access, suite, reporter)
}

// checkSkips prints what was skipped and why, and fails for what has no reason.
func checkSkips(report types.Report) {
	passed, skipped := 0, 0
	var wrong []string
	for _, spec := range report.SpecReports {
		switch {
		case spec.State == types.SpecStatePassed:
			passed++
		case spec.State == types.SpecStateSkipped && spec.LeafNodeType == types.NodeTypeIt:
			skipped++
			reason := reasonFor(spec.FullText())
			fmt.Fprintf(ginkgo.GinkgoWriter, "skipped: %s: %s\n", spec.FullText(), reason)
			if reason == "" {
				wrong = append(wrong, spec.FullText())
			}
		}
	}
	fmt.Fprintf(ginkgo.GinkgoWriter, "%d passed, %d skipped\n", passed, skipped)
	gomega.Expect(wrong).To(gomega.BeEmpty(), "skipped without a reason")
	gomega.Expect(passed).To(gomega.BeNumerically(">", 60), "specs that passed")
}

func reasonFor(text string) string {
	for part := range maps.Keys(mayBeSkipped) {
		if strings.Contains(text, part) {
			return mayBeSkipped[part]
		}
	}
	return ""
}
