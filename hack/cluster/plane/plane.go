// Package plane runs the control plane of the cluster in the lab: etcd, API server, controller manager, scheduler, as
// processes in the network namespace that it is called in.
package plane

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/machine"
	"github.com/portbind/portbind/hack/cluster/pki"
	"github.com/portbind/portbind/hack/cluster/progress"
)

// Plane is a running control plane.
type Plane struct {
	l     layout.Layout
	log   *progress.Log
	nodes []*machine.Machine
	ended chan error
}

// New makes the certificates and kubeconfigs that the control plane and the nodes begin with.
func New(l layout.Layout, log *progress.Log, nodes []*machine.Machine) (*Plane, error) {
	p := &Plane{l: l, log: log, nodes: nodes, ended: make(chan error, 8)}
	return p, log.Step("certificates", p.certificates)
}

// Start starts everything and returns when it works. The processes end with ctx, or with us.
func (p *Plane) Start(ctx context.Context) error {
	if err := p.addresses(ctx); err != nil {
		return err
	}
	if err := p.run(ctx, "etcd", etcdFlags(p.l)); err != nil {
		return err
	}
	if err := p.run(ctx, "kube-apiserver", apiserverFlags(p.l)); err != nil {
		return err
	}
	if err := p.ready(ctx, "API server", "https://127.0.0.1:"+layout.APIPort+"/readyz"); err != nil {
		return err
	}
	for name, flags := range map[string][]string{
		"kube-controller-manager": controllerManagerFlags(p.l), "kube-scheduler": schedulerFlags(p.l),
	} {
		if err := p.run(ctx, name, flags); err != nil {
			return err
		}
	}
	var group errgroup.Group
	group.Go(func() error { return p.ready(ctx, "controller manager", "https://127.0.0.1:10257/healthz") })
	group.Go(func() error { return p.ready(ctx, "scheduler", "https://127.0.0.1:10259/readyz") })
	return group.Wait()
}

// Ended tells of a process that ended before its time.
func (p *Plane) Ended() <-chan error { return p.ended }

// certificates makes those of the control plane and the nodes, and kubeconfigs with them.
func (p *Plane) certificates() error {
	a, err := pki.New(p.l.PKI(""))
	if err != nil {
		return err
	}
	hosts := []string{
		"127.0.0.1", machine.Outside, layout.APIService, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local",
	}
	masters := []string{"system:masters"}
	errs := []error{
		a.SigningKey("sa"),
		a.Issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}, hosts...),
		a.Issue("front-proxy", pkix.Name{CommonName: "front-proxy"}),
		a.Issue("kubelet-client", pkix.Name{CommonName: "apiserver-kubelet-client", Organization: masters}),
		p.user(a, "admin", pkix.Name{CommonName: "admin", Organization: masters}),
		p.user(a, "controller-manager", pkix.Name{CommonName: "system:kube-controller-manager"}),
		p.user(a, "scheduler", pkix.Name{CommonName: "system:kube-scheduler"}),
	}
	for _, n := range p.nodes {
		subject := pkix.Name{CommonName: "system:node:" + n.Name, Organization: []string{"system:nodes"}}
		errs = append(errs, p.user(a, n.Name, subject, n.Addr, n.Name))
	}
	return errors.Join(errs...)
}

func (p *Plane) user(a *pki.Authority, name string, subject pkix.Name, hosts ...string) error {
	if err := a.Issue(name, subject, hosts...); err != nil {
		return err
	}
	return WriteKubeconfig(p.l, name, p.l.Kubeconfig(name), "https://"+net.JoinHostPort(machine.Outside, layout.APIPort))
}

// WriteKubeconfig writes a user's, for a server that is reached at the URL.
func WriteKubeconfig(l layout.Layout, user, path, server string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: %[5]q, user: {client-certificate: %[3]q, client-key: %[4]q}}]
contexts: [{name: lab, context: {cluster: lab, user: %[5]q}}]
current-context: lab
`, server, l.PKI("ca.crt"), l.PKI(user+".crt"), l.PKI(user+".key"), user)
	return os.WriteFile(path, []byte(text), 0o600)
}

// addresses makes the address of the API's service ours, and routes to the nodes' pods.
func (p *Plane) addresses(ctx context.Context) error {
	commands := []string{"addr replace " + layout.APIService + "/32 dev lo"}
	for _, n := range p.nodes {
		commands = append(commands, fmt.Sprintf("route replace %s via %s", layout.PodSubnet(n.Index), n.Addr))
	}
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("addresses of the control plane: %w: %s", err, out)
	}
	return nil
}

// run starts a program; when it ends before ctx does, Ended says so.
func (p *Plane) run(ctx context.Context, name string, flags []string) error {
	out, err := os.Create(p.l.Log(name))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, p.l.Program(name), flags...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		if err := cmd.Wait(); ctx.Err() == nil {
			p.ended <- fmt.Errorf("%s ended: %w: see %s", name, err, filepath.Base(p.l.Log(name)))
		}
	}()
	return nil
}
