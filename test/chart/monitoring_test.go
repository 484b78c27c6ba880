package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The objects carry the files as they are: nothing in them is taken for a template of the chart.
func TestMonitoring(t *testing.T) {
	all := render(t, values(full)...)
	raw, err := os.ReadFile(filepath.Join(chartDir, "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want prometheusRule
	if err := yaml.UnmarshalStrict(raw, &want.Spec); err != nil {
		t.Fatal(err)
	}
	rules := every[*prometheusRule](all)
	if len(rules) != 1 || rules[0].Labels["release"] != "prometheus" {
		t.Fatalf("%d rules: %v", len(rules), rules)
	}
	if diff := cmp.Diff(want.Spec, rules[0].Spec); diff != "" {
		t.Errorf("rules, -file +rendered:\n%s", diff)
	}

	dashboard, err := os.ReadFile(filepath.Join(chartDir, "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, c := range every[*corev1.ConfigMap](all) {
		text, ok := c.Data["portbind.json"]
		if !ok {
			continue
		}
		found++
		if c.Labels["grafana_dashboard"] != "1" || c.Annotations["grafana_folder"] != "Storage" || !json.Valid([]byte(text)) {
			t.Errorf("%s: labels %v, annotations %v", c.Name, c.Labels, c.Annotations)
		}
		if diff := cmp.Diff(string(dashboard), text); diff != "" {
			t.Errorf("dashboard, -file +rendered:\n%s", diff)
		}
	}
	if found != 1 {
		t.Errorf("%d dashboards", found)
	}
}

// Whoever does not ask for them gets neither.
func TestNoMonitoring(t *testing.T) {
	all := render(t, values(minimal)...)
	if n := len(every[*prometheusRule](all)) + len(every[*serviceMonitor](all)); n > 0 {
		t.Errorf("%d objects of the Prometheus operator's", n)
	}
	for _, c := range every[*corev1.ConfigMap](all) {
		if _, ok := c.Data["portbind.json"]; ok {
			t.Errorf("dashboard in %s", c.Name)
		}
	}
}
