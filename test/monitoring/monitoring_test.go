// Package monitoring tests that the alert rules and the dashboard speak of what the programs measure, and that the alerts
// fire when they should.
package monitoring

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/failfast"
	"github.com/portbind/portbind/pkg/nodemetrics"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/target/server"
)

const (
	alertsFile    = "../../deploy/monitoring/alerts.yaml"
	dashboardFile = "../../deploy/monitoring/dashboard.json"
)

// names is a prometheus.Registerer that keeps the names of what is registered.
type names map[string]bool

var descName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (n names) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		c.Describe(ch)
	}()
	for d := range ch {
		n[descName.FindStringSubmatch(d.String())[1]] = true
	}
	return nil
}

func (n names) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = n.Register(c)
	}
}

func (names) Unregister(prometheus.Collector) bool { panic("nothing is taken back") }

// registered are the names of all metrics that the programs register.
func registered(t *testing.T) names {
	t.Helper()
	all := names{}
	controller, err := driver.NewController(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all.MustRegister(
		driver.NewControllerCollector(t.Context(), controller), driver.NewNodeCollector(t.Context(), driver.NewNode(driver.NodeOptions{})),
		nodemetrics.New(t.Context(), "", nil), pathwatch.New(pathwatch.Config{}), compliance.New(compliance.Config{}),
		failfast.New(t.Context(), failfast.Config{}),
	)
	// The CSI calls' are registered by the server, which has nothing to serve here.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := driver.Serve(ctx, driver.ServerConfig{
		Endpoint: "unix://" + filepath.Join(t.TempDir(), "s"), Identity: driver.NewIdentity("", nil), Registerer: all,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(server.Config{}, nil, nil, nil).NewMetrics(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	return all
}

// ruleFile is Prometheus' own format.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func alerts(t *testing.T) []rule {
	t.Helper()
	raw, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file ruleFile
	if err := yaml.UnmarshalStrict(raw, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// panel is what is looked at of a dashboard's panel.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct{ H, W, X, Y int }
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

type dashboard struct {
	UID           string  `json:"uid"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

func board(t *testing.T) dashboard {
	t.Helper()
	raw, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var metricName = regexp.MustCompile(`\bportbind_[a-z_]+`)

// TestNames: what is asked for is measured.
func TestNames(t *testing.T) {
	known := registered(t)
	check := func(where, text string) {
		t.Helper()
		for _, name := range metricName.FindAllString(text, -1) {
			if !known[name] && !known[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s asks for %s, which nobody measures", where, name)
			}
		}
	}
	for _, r := range alerts(t) {
		check(r.Alert, r.Expr)
	}
	d := board(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
	for _, v := range d.Templating.List {
		check("variable "+v.Name, v.Definition)
	}
	if len(known) < 30 {
		t.Errorf("only %d metrics are known: %v", len(known), slices.Sorted(maps.Keys(known)))
	}
}

// TestDocumented: each metric is in the reference.
func TestDocumented(t *testing.T) {
	var text strings.Builder
	for _, file := range []string{"reference/configuration.md", "targetd.md"} {
		raw, err := os.ReadFile(filepath.Join("../../docs", file))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(raw)
	}
	for name := range registered(t) {
		short := strings.TrimPrefix(name, "portbind_targetd_")
		if !strings.Contains(text.String(), "`"+name+"`") && !strings.Contains(text.String(), "`"+short+"`") {
			t.Errorf("%s is not documented", name)
		}
	}
}

// TestPanels: nothing lies on top of something else.
func TestPanels(t *testing.T) {
	d := board(t)
	if d.UID == "" || d.SchemaVersion < 41 {
		t.Errorf("uid %q, schema %d", d.UID, d.SchemaVersion)
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || (p.Type != "row") != (len(p.Targets) > 0) {
			t.Errorf("panel %d %q: %+v", p.ID, p.Title, p.GridPos)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("panels %q and %q overlap", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
	}
}

var notInAnchor = regexp.MustCompile("[^a-z0-9 _-]")

// TestRunbooks: each alert leads to a heading that is there.
func TestRunbooks(t *testing.T) {
	const base = "https://github.com/portbind/portbind/blob/main/docs/"
	for _, r := range alerts(t) {
		file, anchor, _ := strings.Cut(strings.TrimPrefix(r.Annotations["runbook_url"], base), "#")
		raw, err := os.ReadFile(filepath.Join("../../docs", file))
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
			continue
		}
		found := false
		for line := range strings.Lines(string(raw)) {
			if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
				title = notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
				found = found || strings.ReplaceAll(title, " ", "-") == anchor
			}
		}
		if !found || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: %v, heading there: %v", r.Alert, r, found)
		}
	}
	manual, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts(t) {
		if !strings.Contains(string(manual), "`"+r.Alert+"`") {
			t.Errorf("docs/monitoring.md does not explain %s", r.Alert)
		}
	}
}
