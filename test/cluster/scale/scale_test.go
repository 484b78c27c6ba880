//go:build cluster

package scale

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// patience is the limit of a wave: starting a container takes seconds of a node's only CPU.
const patience = 20 * time.Minute

// What a pod does: its volume has to be new, and what it writes there has to stay what it was, on the disk and not only in
// memory.
const script = `
[ ! -e /data/name ]
echo "$HOSTNAME" > /data/name
sync /data/name
while sleep 15; do [ "$(dd if=/data/name iflag=direct bs=4096 count=1 2>/dev/null)" = "$HOSTNAME" ]; done
`

// CLAIMS claims with a pod each come and go in waves of WAVE, half of them on each node. A wave goes while the next one comes. No
// volume is touched by what is done to another, and nothing is left at the end.
func TestScale(t *testing.T) {
	e := clusterenv.New(t)
	claims := clusterenv.Count(t, "CLAIMS", 20)
	size := clusterenv.Count(t, "WAVE", (claims+1)/2)
	s := begin(e)
	bare := wave(0, size, "bare")
	t.Logf("%d pods without volumes: all run after %.0f s", size, s.start(bare, false).Seconds())
	s.gone(s.remove(bare))

	var before []string
	for first := 0; first < claims; first += size {
		now := wave(first, min(first+size, claims), "pod")
		going := s.remove(before)
		t.Logf("%d pods with volumes, while %d go: all run after %.0f s", len(now), len(before), s.start(now, true).Seconds())
		s.gone(going)
		s.unhurt(now)
		before = now
	}
	began := time.Now()
	s.gone(s.remove(before))
	t.Logf("the last %d pods and claims are gone after %.0f s", len(before), time.Since(began).Seconds())
	s.report()
}

func wave(first, last int, prefix string) []string {
	var all []string
	for i := first; i < last; i++ {
		all = append(all, fmt.Sprintf("%s-%03d", prefix, i))
	}
	return all
}

// start makes pods, with or without a claim of the same name, and waits until all of them run.
func (s *scene) start(pods []string, volumes bool) time.Duration {
	s.T.Helper()
	var all []string
	for i, name := range pods {
		p := clusterenv.Pod{Name: name, Node: fmt.Sprintf("node%d", 1+i%2)}
		if volumes {
			p.Claim, p.Script = name, script
			all = append(all, clusterenv.Claim{Name: name}.Manifest())
		}
		all = append(all, p.Manifest())
	}
	began := time.Now()
	s.Apply(all...)
	s.Eventually(patience, fmt.Sprintf("%s to %s run", pods[0], pods[len(pods)-1]), func() bool { return s.run(pods) })
	return time.Since(began)
}

// remove asks for the removal of pods and of the claims of the same names.
func (s *scene) remove(pods []string) []string {
	s.T.Helper()
	if len(pods) == 0 {
		return nil
	}
	args := []string{"delete", "--wait=false", "--ignore-not-found"}
	for _, name := range pods {
		args = append(args, "pod/"+name, "persistentvolumeclaim/"+name)
	}
	s.Kubectl(args...)
	return pods
}

// gone waits until the pods and claims are no more.
func (s *scene) gone(names []string) {
	s.T.Helper()
	s.Eventually(patience, "pods and claims are gone", func() bool {
		for line := range strings.FieldsSeq(s.Kubectl("get", "pods,persistentvolumeclaims", "--output", "name")) {
			if _, name, _ := strings.Cut(line, "/"); slices.Contains(names, name) {
				return false
			}
		}
		return true
	})
}

// unhurt expects that the pods run and never stopped: each has found its own data on its volume all the time.
func (s *scene) unhurt(pods []string) {
	s.T.Helper()
	const each = `{range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}{"\n"}{end}`
	lines := strings.Split(strings.TrimSpace(s.Kubectl("get", "pods", "--output", "jsonpath="+each)), "\n")
	for _, name := range pods {
		if want := name + " 0 true"; !slices.Contains(lines, want) {
			s.T.Errorf("%q is not among the pods:\n%s", want, strings.Join(lines, "\n"))
		}
	}
}
