//go:build cluster

package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// scene watches what happens to claims, pods and their volumes.
type scene struct {
	*clusterenv.Env
	mu      sync.Mutex
	stories map[string]*story // by the name that pod and claim have
	claims  map[string]string // names by PV
	ready   map[string]bool   // pods
}

func begin(e *clusterenv.Env) *scene {
	e.T.Helper()
	s := &scene{Env: e, stories: map[string]*story{}, claims: map[string]string{}, ready: map[string]bool{}}
	s.watch(s.claim, "get", "persistentvolumeclaims", "--watch", "--output", "json")
	s.watch(s.pod, "get", "pods", "--watch", "--output", "json")
	s.watch(s.attachment, "get", "volumeattachments", "--watch", "--output", "json")
	for _, node := range e.Nodes {
		plugin, skew := e.NodePlugin(node.Name), skew(node)
		e.T.Logf("%s: the clock is %v behind ours", node.Name, skew.Round(time.Millisecond))
		s.stream(func(out io.Reader) { s.calls(out, skew) },
			"--namespace", "portbind", "logs", plugin, "--container", "portbind-csi", "--follow", "--tail=0")
	}
	return s
}

// skew is by how much the machine's clock is behind ours.
func skew(node *clusterenv.Machine) time.Duration {
	before := time.Now()
	out := node.Run("date", "+%s.%N")
	middle := before.Add(time.Since(before) / 2)
	seconds, err := time.ParseDuration(strings.TrimSpace(out) + "s")
	if err != nil {
		return 0
	}
	return middle.Sub(time.Unix(0, seconds.Nanoseconds()))
}

// stream runs kubectl with its output going to read, until the test ends.
func (s *scene) stream(read func(io.Reader), args ...string) {
	s.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"--namespace", s.Namespace}, args...)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		s.T.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	done := make(chan struct{})
	go func() { defer close(done); read(out) }()
	s.T.Cleanup(func() { cancel(); <-done; _ = cmd.Wait() })
}

// object is what is looked at of claims, pods and attachments.
type object struct {
	Kind     string
	Items    []object
	Metadata struct {
		Name        string
		Annotations map[string]string
	}
	Spec struct {
		VolumeName string
		Source     struct{ PersistentVolumeName string }
	}
	Status struct {
		Phase             string
		Attached          bool
		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct{ Ready bool }
	}
}

// watch passes each object on when it is new or has changed.
func (s *scene) watch(see func(object, time.Time), args ...string) {
	s.T.Helper()
	s.stream(func(out io.Reader) {
		for in := json.NewDecoder(out); ; {
			var o object
			if in.Decode(&o) != nil {
				return
			}
			s.mu.Lock()
			for _, each := range append(o.Items, o) {
				see(each, time.Now())
			}
			s.mu.Unlock()
		}
	}, args...)
}

func (s *scene) story(name string) *story {
	if s.stories[name] == nil {
		s.stories[name] = &story{}
	}
	return s.stories[name]
}

func (s *scene) claim(o object, at time.Time) {
	if o.Kind != "PersistentVolumeClaim" {
		return
	}
	one := s.story(o.Metadata.Name)
	one.note(made, at)
	if o.Metadata.Annotations["volume.kubernetes.io/selected-node"] != "" {
		one.note(chosen, at)
	}
	if o.Spec.VolumeName != "" {
		s.claims[o.Spec.VolumeName] = o.Metadata.Name
	}
	if o.Status.Phase == "Bound" {
		one.note(bound, at)
	}
}

func (s *scene) pod(o object, at time.Time) {
	if o.Kind != "Pod" {
		return
	}
	one := s.story(o.Metadata.Name)
	one.note(made, at)
	for _, c := range o.Status.Conditions {
		if c.Type == "PodScheduled" && c.Status == "True" {
			one.note(scheduled, at)
		}
	}
	s.ready[o.Metadata.Name] = len(o.Status.ContainerStatuses) > 0 && o.Status.ContainerStatuses[0].Ready
	if s.ready[o.Metadata.Name] {
		one.note(running, at)
	}
}

func (s *scene) attachment(o object, at time.Time) {
	name := s.claims[o.Spec.Source.PersistentVolumeName]
	if o.Kind != "VolumeAttachment" || name == "" {
		return
	}
	one := s.story(name)
	one.note(attaching, at)
	if o.Status.Attached {
		one.note(attached, at)
	}
}

// run says whether all of the pods run.
func (s *scene) run(pods []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range pods {
		if !s.ready[name] {
			return false
		}
	}
	return true
}

// A call that succeeded, in the node plugin's log.
var done = regexp.MustCompile(`^I\d{4} (\d\d:\d\d:\d\d\.\d+) .*"Done" method="(Node\w+)" volume="[^"]*/([^"/]+)".* took="([^"]+)"`)

// calls notes when a node plugin staged and published, by its log.
func (s *scene) calls(log io.Reader, skew time.Duration) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		match := done.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		clock, err1 := time.Parse("15:04:05.999999", match[1])
		took, err2 := time.ParseDuration(match[4])
		if err1 != nil || err2 != nil {
			continue
		}
		y, m, d := time.Now().UTC().Date()
		ended := clock.AddDate(y, int(m)-1, d-1).Add(skew)
		s.mu.Lock()
		one := s.story(s.claims[match[3]])
		switch match[2] {
		case "NodeStageVolume":
			one.note(staging, ended.Add(-took))
			one.note(staged, ended)
		case "NodePublishVolume":
			one.note(published, ended)
		}
		s.mu.Unlock()
	}
}
