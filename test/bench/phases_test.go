//go:build lab

package bench

import (
	"context"
	"os"
	"regexp"
	"strings"
	"time"
)

// stage attaches and mounts, unstage undoes it; both also give the phases that the node plugin logs of it.
func (v *volume) stage() (time.Duration, []phase) {
	v.b.T.Helper()
	return v.logged(`"Attach"`, v.Stage)
}

func (v *volume) unstage() (time.Duration, []phase) {
	v.b.T.Helper()
	return v.logged(`"Detach"`, v.Unstage)
}

func (v *volume) logged(event string, f func(context.Context) error) (time.Duration, []phase) {
	v.b.T.Helper()
	before, err := os.Stat(v.b.Node.Log)
	check(v.b.T, err)
	took := v.call(f)
	log, err := os.ReadFile(v.b.Node.Log)
	check(v.b.T, err)
	for line := range strings.Lines(string(log[before.Size():])) {
		if strings.Contains(line, event) && strings.Contains(line, `volume="`+v.VolumeId+`"`) {
			return took, withRest(took, laps(line))
		}
	}
	v.b.T.Fatalf("the node plugin logged no %s of %s", event, v.VolumeId)
	return 0, nil
}

var lap = regexp.MustCompile(` ([a-z]+)="([^"]+)"`)

// laps are the values of a log line that are durations.
func laps(line string) (phases []phase) {
	for _, m := range lap.FindAllStringSubmatch(line, -1) {
		if d, err := time.ParseDuration(m[2]); err == nil {
			phases = append(phases, phase{m[1], d})
		}
	}
	return phases
}

// withRest adds what the caller waited besides.
func withRest(total time.Duration, phases []phase) []phase {
	for _, p := range phases {
		total -= p.Took
	}
	return append(phases, phase{"mount, records, gRPC", total})
}
