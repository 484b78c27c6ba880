package clusterenv

import "testing"

func TestLineWith(t *testing.T) {
	const text = "Name:   data\nEvents:\n  Normal   A  all is well\n  Warning  Failed  3s   x   wants \"b\"; allowed: a\n"
	for want, words := range map[string][]string{
		`Warning Failed 3s x wants "b"; allowed: a`: {"allowed: a", "Failed"},
		"":           {"all is well", "Failed"},
		"Name: data": {"data"},
	} {
		if got := lineWith(text, words); got != want {
			t.Errorf("with %q: %q, want %q", words, got, want)
		}
	}
}
