//go:build promtool

package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPromtool is what Prometheus makes of the rules and of the dashboard; hack/alerts builds the program.
func TestPromtool(t *testing.T) {
	for name, args := range map[string][]string{
		"rules":     {"check", "rules", "--lint=all", "--lint-fatal", alertsFile},
		"tests":     {"test", "rules", "--diff", filepath.Join(filepath.Dir(alertsFile), "alerts_test.yaml")},
		"dashboard": {"check", "rules", queries(t)},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), os.Getenv("PROMTOOL"), args...).CombinedOutput() //nolint:forbidigo // the tool itself
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// queries are those of the dashboard with its variables filled in, as a rule file: promtool parses those.
func queries(t *testing.T) string {
	t.Helper()
	fill := strings.NewReplacer("$__rate_interval", "5m", "$cluster", ".*", "$node", "n1|n2", "$volume", ".*")
	var rules []rule
	for _, p := range board(t).Panels {
		for i, target := range p.Targets {
			rules = append(rules, rule{Record: fmt.Sprintf("panel:%d:%d", p.ID, i), Expr: fill.Replace(target.Expr)})
		}
	}
	raw, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
