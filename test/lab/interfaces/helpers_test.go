//go:build lab

package interfaces

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	metricsAddress = "127.0.0.1:9819"
	topologyPrefix = "topology.iscsi.portbind.io/"
	target         = "iqn.2026-11.io.example:interfaces"
)

// scene is a storage network with a target that nobody has logged in to, and a node plugin.
type scene struct {
	*labenv.Env
	node  *labenv.Plugin
	pokes int
}

// newScene starts the target and the initiator's daemons; start starts the plugin.
func newScene(t *testing.T) *scene {
	t.Helper()
	labenv.Require(t, labenv.ISCSI, labenv.LIO, labenv.DMMultipath)
	s := &scene{Env: labenv.New(t, labenv.Options{})}
	s.RawTarget(target)
	s.StartInitiator(labenv.InitiatorOptions{})
	return s
}

// start starts the plugin with these interfaces, as the configuration file has them, and more of the configuration.
func (s *scene) start(interfaces []map[string]any, more map[string]any) {
	s.T.Helper()
	config := map[string]any{"interfaces": interfaces, "portals": s.Net.Portals}
	maps.Copy(config, more)
	s.node = s.Node(labenv.NodeOptions{Name: "n1", Config: config, Flags: []string{"--metrics-address", metricsAddress}})
}

func iface(name, key, value string) map[string]any { return map[string]any{"name": name, key: value} }

// metrics is what the plugin tells Prometheus.
func (s *scene) metrics() string {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
	if err != nil {
		s.T.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return string(body)
}

// state is an interface's, as the metric has it.
func (s *scene) state(name string) compliance.State {
	s.T.Helper()
	text := s.metrics()
	for _, state := range compliance.States() {
		if strings.Contains(text, fmt.Sprintf("portbind_interface_compliance{interface=%q,state=%q} 1\n", name, string(state))) {
			return state
		}
	}
	return ""
}

// want waits until interfaces are in a state; "san-a LinkDown" and so on.
func (s *scene) want(states ...string) {
	s.T.Helper()
	for _, text := range states {
		name, state, _ := strings.Cut(text, " ")
		took := s.Eventually(20*time.Second, text, func() bool { return s.state(name) == compliance.State(state) })
		s.T.Logf("%s after %v", text, took.Round(time.Millisecond))
	}
}

// poke has the plugin look now: nobody tells when a sysctl is changed.
func (s *scene) poke() {
	s.T.Helper()
	s.pokes++
	s.Run("ip", "link", "set", "mgmt0", "alias", fmt.Sprint("poke", s.pokes))
}

// wantTopology holds what the node says to Kubernetes against what it should; "" is nothing.
func (s *scene) wantTopology(segments map[string]string) {
	s.T.Helper()
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	info, err := s.node.Node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil {
		s.T.Fatal(err)
	}
	for name, value := range segments {
		if got := info.GetAccessibleTopology().GetSegments()[topologyPrefix+name]; got != value {
			s.T.Errorf("topology of %s is %q, not %q", name, got, value)
		}
	}
}

// reaches says whether the first portal answers through a NIC.
func (s *scene) reaches(nic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return iscsi.Probe(ctx, nic, netip.AddrPortFrom(netip.MustParseAddr(s.Net.Portals[0]), 3260))
}

// sysctl writes a setting of a NIC, or of "all".
func (s *scene) sysctl(nic, key, value string) {
	s.T.Helper()
	s.Write("/proc/sys/net/ipv4/conf/"+nic+"/"+key, value)
}

// log is what the plugin has logged.
func (s *scene) log() string {
	s.T.Helper()
	text, err := os.ReadFile(s.node.Log)
	if err != nil {
		s.T.Fatal(err)
	}
	return string(text)
}
