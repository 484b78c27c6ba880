package clusterenv

import (
	"strconv"
	"strings"
)

// Beats is a pod's script that writes a line with the time to /data/beats and waits until it is on the volume, five times a second. It
// pauses without starting a program, of which a node of the lab can start no more than some twenty a second.
const Beats = `
mkfifo /tmp/never
exec 3<> /tmp/never
while read -r now _ < /proc/uptime; do
  echo "$now" >> /data/beats
  sync /data/beats
  read -r -t 0.2 _ <&3 || true
done
`

// Beats are the times, in seconds, that a pod with that script has written.
func (e *Env) Beats(pod string) []float64 {
	e.T.Helper()
	var all []float64
	for line := range strings.FieldsSeq(e.Sh(pod, "cat /data/beats || true")) {
		at, err := strconv.ParseFloat(line, 64)
		if err != nil {
			e.T.Fatalf("the pod wrote %q", line)
		}
		all = append(all, at)
	}
	return all
}

// LongestStall is the longest time, in seconds, between two beats.
func LongestStall(beats []float64) float64 {
	gap := 0.0
	for i := 1; i < len(beats); i++ {
		gap = max(gap, beats[i]-beats[i-1])
	}
	return gap
}
