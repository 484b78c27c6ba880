//go:build lab

package labenv

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Plugin is a running `portbind-csi controller` or `portbind-csi node`, with clients of its CSI services.
type Plugin struct {
	*Daemon
	Socket     string
	Config     string // path
	StateDir   string // of a node
	Conn       *grpc.ClientConn
	Identity   csi.IdentityClient
	Controller csi.ControllerClient
	Node       csi.NodeClient
}

// Controller starts a controller plugin for the given targets.
func (e *Env) Controller(targets ...*Target) *Plugin {
	e.T.Helper()
	var list []map[string]any
	for _, t := range targets {
		list = append(list, map[string]any{"name": t.Name, "endpoint": t.Endpoint, "tls": map[string]any{
			"ca": t.PKI + "/ca.crt", "cert": t.PKI + "/client.crt", "key": t.PKI + "/client.key",
		}})
	}
	return e.plugin("controller", "controller", map[string]any{"targets": list})
}

// NodeOptions configures a node plugin.
type NodeOptions struct {
	Name       string            // of the node; default the guest's host name
	Interfaces map[string]string // interface name -> netdev; default san-a: san0, san-b: san1, ...
	Config     map[string]any    // more of the configuration file, or other values
	Flags      []string
}

// Node starts a node plugin. The initiator's daemons must be running.
func (e *Env) Node(o NodeOptions) *Plugin {
	e.T.Helper()
	if o.Name == "" {
		name, err := os.Hostname()
		e.must(err)
		o.Name = name
	}
	stateDir := filepath.Join(e.dir, "node-"+o.Name)
	e.must(os.MkdirAll(stateDir, 0o700))
	c := map[string]any{"interfaces": e.interfaces(o.Interfaces), "stateDir": stateDir}
	maps.Copy(c, o.Config)
	p := e.plugin("node", "node-"+o.Name, c, append([]string{"--node-name", o.Name}, o.Flags...)...)
	p.StateDir = stateDir
	return p
}

// InterfaceNames are the names that Node gives to the network's NICs by default: san-a, san-b, ...
func (e *Env) InterfaceNames() []string {
	var names []string
	for i := range e.Net.NICs {
		names = append(names, "san-"+string(rune('a'+i)))
	}
	return names
}

func (e *Env) interfaces(given map[string]string) []map[string]string {
	var list []map[string]string
	for name, nic := range given {
		list = append(list, map[string]string{"name": name, "netdev": nic})
	}
	if given == nil {
		for i, name := range e.InterfaceNames() {
			list = append(list, map[string]string{"name": name, "netdev": e.Net.NICs[i]})
		}
	}
	return list
}

func (e *Env) plugin(command, name string, config map[string]any, flags ...string) *Plugin {
	e.T.Helper()
	p := &Plugin{Socket: filepath.Join(e.dir, name+".sock"), Config: filepath.Join(e.dir, name+".yaml")}
	e.writeYAML(p.Config, config)
	conn, err := grpc.NewClient("unix://"+p.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	e.must(err)
	e.T.Cleanup(func() { _ = conn.Close() })
	p.Conn, p.Identity = conn, csi.NewIdentityClient(conn)
	p.Controller, p.Node = csi.NewControllerClient(conn), csi.NewNodeClient(conn)
	argv := []string{e.Binary("portbind-csi"), command, "--endpoint", "unix://" + p.Socket, "--config", p.Config, "-v", "4"}
	p.Daemon = e.Daemon(name, p.ready, append(argv, flags...)...)
	return p
}

func (p *Plugin) ready() bool {
	// A connection that failed before the socket was there would wait with its next attempt.
	p.Conn.ResetConnectBackoff()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := p.Identity.Probe(ctx, &csi.ProbeRequest{})
	return err == nil && (resp.GetReady() == nil || resp.GetReady().GetValue())
}
