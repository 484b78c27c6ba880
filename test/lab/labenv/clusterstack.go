//go:build lab

package labenv

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/hack/lab/wire"
)

// TargetGuest is a guest with portbind-targetd and a pool on its first disk.
type TargetGuest struct {
	*Guest
	Target *Target // what a controller needs to know of it; it has no Daemon
	Daemon *Process
}

// NodeGuest is a guest with the initiator's daemons and the node plugin.
type NodeGuest struct {
	*Guest
	ISCSID, Multipathd, Plugin *Process
	Client                     *Plugin // its CSI services; it has no Daemon
	NodeID                     string
}

const guestPool = "labvg0"

// Wipe powers the guest off and gives it empty disks; Boot or the next NewCluster starts it again.
func (g *Guest) Wipe() {
	g.c.T.Helper()
	g.Kill()
	g.do(wire.Request{Op: wire.OpWipe})
}

// StartTarget makes the guest a target host: a pool on its first disk, certificates, a configuration, and the daemon
// running. The guest's disks are wiped at the test's end.
func (g *Guest) StartTarget() *TargetGuest {
	e := g.c.Env
	e.T.Helper()
	e.T.Cleanup(g.Wipe)
	g.Run("vgcreate", "-q", "--metadatasize", "64m", guestPool, "/dev/disk/lab/0")
	g.Run("lvcreate", "-q", "-T", "-l", "90%FREE", guestPool+"/pool")
	pki := filepath.Join(e.dir, "pki-"+g.Name)
	e.Run(e.Binary("portbind-targetd"), "pki", "--dir", pki, "--san", g.Mgmt)
	const dir = "/etc/portbind-targetd"
	for _, name := range []string{"ca.crt", "server.crt", "server.key"} {
		data, err := os.ReadFile(filepath.Join(pki, name))
		e.must(err)
		g.WriteFile(dir+"/pki/"+name, data)
	}
	t := &Target{
		Name: g.Name, IQN: "iqn.2026-11.io.portbind.lab:" + g.Name, Endpoint: net.JoinHostPort(g.Mgmt, apiPort), PKI: pki,
		Pools: []Pool{{VG: guestPool, LV: "pool"}}, Config: dir + "/config.yaml", StateDir: "/var/lib/portbind-targetd", health: healthAddr,
	}
	g.writeConfig(t)
	tg := &TargetGuest{Guest: g, Target: t}
	tg.Serve()
	return tg
}

func (g *Guest) writeConfig(t *Target) {
	g.c.T.Helper()
	var portals []string
	for _, addr := range g.San {
		portals = append(portals, net.JoinHostPort(addr, "3260"))
	}
	data, err := yaml.Marshal(map[string]any{
		"iqn": t.IQN, "portals": portals, "listen": t.Endpoint, "chap": "optional",
		"pools": []map[string]any{{"name": t.Pools[0].Name(), "vg": guestPool, "thinPool": "pool"}},
	})
	g.c.must(err)
	g.WriteFile(t.Config, data)
}

// Serve does what a target host's boot does: it activates the volume group and starts the daemon, and returns when the
// daemon is ready.
func (t *TargetGuest) Serve() {
	e := t.c.Env
	e.T.Helper()
	t.Run("vgchange", "-q", "-ay", guestPool)
	t.Daemon = t.Start("targetd", e.Binary("portbind-targetd"), "serve", "--config", t.Target.Config, "-v", "4")
	e.Eventually(time.Minute, "targetd is ready", func() bool {
		if !t.Daemon.Running() {
			e.T.Fatalf("targetd ended: see %s", t.Daemon.Log)
		}
		return t.httpOK("http://" + t.Target.health + "/readyz")
	})
}

// httpOK asks over the agent's channel, as if from within the guest.
func (g *Guest) httpOK(url string) bool {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: g.Dial}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func (g *Guest) answers(socket string) bool {
	conn, err := g.Dial(context.Background(), "unix", socket)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// StartNode makes the guest a node: iscsid, multipathd and the node plugin running, with its NICs as san-a, san-b, ...
// The guest's disks are wiped at the test's end.
func (g *Guest) StartNode() *NodeGuest {
	e := g.c.Env
	e.T.Helper()
	e.T.Cleanup(g.Wipe)
	var interfaces []map[string]string
	for i := range g.San {
		interfaces = append(interfaces, map[string]string{"name": "san-" + string(rune('a'+i)), "netdev": fmt.Sprintf("san%d", i)})
	}
	data, err := yaml.Marshal(map[string]any{"interfaces": interfaces})
	e.must(err)
	g.WriteFile("/etc/portbind/node.yaml", data)
	n := &NodeGuest{Guest: g, Client: g.csiClient("/run/portbind.sock")}
	n.Serve()
	return n
}

func (g *Guest) csiClient(socket string) *Plugin {
	e := g.c.Env
	e.T.Helper()
	conn, err := grpc.NewClient("passthrough:///"+g.Name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return g.Dial(ctx, "unix", socket) }))
	e.must(err)
	e.T.Cleanup(func() { _ = conn.Close() })
	return &Plugin{Socket: socket, Conn: conn, Identity: csi.NewIdentityClient(conn), Node: csi.NewNodeClient(conn)}
}

// Serve does what a node's boot does: it starts the daemons and the plugin, and returns when the plugin answers.
func (n *NodeGuest) Serve() {
	e := n.c.Env
	e.T.Helper()
	n.WriteFile("/etc/multipath.conf", []byte(DefaultMultipathConf))
	n.ISCSID = n.Start("iscsid", "iscsid", "-f")
	n.Multipathd = n.Start("multipathd", "multipathd", "-d", "-v2")
	for _, socket := range []string{"@ISCSIADM_ABSTRACT_NAMESPACE", "@/org/kernel/linux/storage/multipathd"} {
		e.Eventually(time.Minute, socket+" answers", func() bool { return n.answers(socket) })
	}
	n.Plugin = n.Start("node", e.Binary("portbind-csi"), "node", "--endpoint", "unix://"+n.Client.Socket,
		"--config", "/etc/portbind/node.yaml", "--node-name", n.Name, "-v", "4")
	e.Eventually(time.Minute, "the node plugin answers", func() bool {
		if !n.Plugin.Running() {
			e.T.Fatalf("node plugin ended: see %s", n.Plugin.Log)
		}
		return n.Client.ready()
	})
	ctx, cancel := e.Context(time.Minute)
	defer cancel()
	info, err := n.Client.Node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	e.must(err)
	n.NodeID = info.GetNodeId()
}

// Stack makes a node's view of the stack, for the methods of Volume. The controller runs outside of the guests: make it
// with c.Controller(target.Target). A volume goes to a second node by that node's Stack.Adopt.
func (n *NodeGuest) Stack(controller *Plugin, t *TargetGuest) *Stack {
	e := *n.c.Env
	e.Net = &Network{e: &e}
	for i := range n.San {
		e.Net.NICs = append(e.Net.NICs, fmt.Sprintf("san%d", i))
	}
	s := &Stack{Env: &e, Target: t.Target, Controller: controller, Node: n.Client, NodeID: n.NodeID}
	s.mkdir = func(dir string) error { _, err := n.Try(10*time.Second, "mkdir", "-p", dir); return err }
	return s
}
