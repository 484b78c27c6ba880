// Package chart tests what the Helm chart renders: that it is what the API server takes, and what is promised about it.
package chart

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../../charts/portbind-csi"
	minimal   = chartDir + "/ci/minimal-values.yaml"
	full      = chartDir + "/ci/full-values.yaml"
	namespace = "portbind"
	release   = "portbind-csi"
)

// helmBinary is built once and kept in .cache/tools.
var helmBinary = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../../hack/tool", "helm") //nolint:forbidigo,noctx // shared by all tests: no context of one of them
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// helm runs the program and gives its output, or what it complains about.
func helm(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	binary, err := helmBinary()
	if err != nil {
		t.Fatalf("hack/tool helm: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	// Nothing of the user's: no repositories, no plugins, no cluster.
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_DATA_HOME=" + home}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", errors.New(complaint.String())
	}
	return out.String(), nil
}

// template renders the chart; args are more arguments of `helm template`.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", release, chartDir, "--namespace", namespace}, args...)...)
}

// render gives the objects that the chart makes of these arguments.
func render(t *testing.T, args ...string) objects {
	t.Helper()
	out, err := template(t, args...)
	if err != nil {
		t.Fatalf("helm template %s: %v", strings.Join(args, " "), err)
	}
	all, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// values are a set of the chart's ci/, as an argument.
func values(file string) []string { return []string{"--values", file} }

// defaults are the chart's values.yaml.
func defaults(t *testing.T) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.UnmarshalStrict(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
