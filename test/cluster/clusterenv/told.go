package clusterenv

import (
	"strings"
	"time"
)

// Told waits until kubectl describe of an object, as TYPE/NAME, has a line with all the words, and returns it.
func (e *Env) Told(object string, words ...string) string {
	e.T.Helper()
	deadline := time.NewTimer(Limit)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		text := e.Kubectl("describe", object)
		if line := lineWith(text, words); line != "" {
			e.T.Logf("%s: %s", object, line)
			return line
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			e.T.Fatalf("no line of the description has all of %q:\n%s", words, text)
		}
	}
}

// lineWith is the first line with all the words, without the blanks of columns.
func lineWith(text string, words []string) string {
	for line := range strings.Lines(text) {
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(line, w)
		}
		if !missing {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}
