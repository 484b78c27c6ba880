package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/nodeview"
)

const (
	// socket is where iscsid, or systemd in its place, listens.
	socket     = "@ISCSIADM_ABSTRACT_NAMESPACE"
	iscsidName = "iscsid"
	confFile   = "/etc/multipath.conf"
	// tooLong is said of what was not found out in time.
	tooLong = "it took too long"
)

// Host is where programs and files of the host are: hostexec.Local.
type Host interface {
	hostexec.Runner
	// InHost calls fn with the host's files in view.
	InHost(fn func() error) error
}

// Source is where facts are gathered.
type Source struct {
	nodeview.Source

	Host       Host
	Multipathd *multipath.Client
	// Configuration is what is wrong with the configuration of the interfaces; nil: nothing.
	Configuration error
	// FailoverOff says that it turns instant failover off.
	FailoverOff bool
	// Namesakes finds other nodes with this one's initiator name; nil where none can be, or nobody knows.
	Namesakes func(ctx context.Context) ([]string, error)
}

// part finds something out, and gives what puts it into the facts.
type part struct {
	name string
	find func(ctx context.Context) (func(*Facts), error)
}

// outcome is what became of a part. An error beside a result says that the result is not complete.
type outcome struct {
	name  string
	apply func(*Facts)
	err   error
}

// Gather finds out all that it can before ctx ends, independent parts at once. It waits for none that does not return then.
func (o Source) Gather(ctx context.Context) Facts {
	f := Facts{Configuration: o.Configuration, FailoverOff: o.FailoverOff, Portals: o.Portals, Unknown: map[string]string{}}
	f.run(ctx, []part{{"sessions, disks and maps", o.node}})
	parts := []part{
		{iscsidName, o.iscsid},
		{"multipathd", o.multipathd},
		{"kernel", o.kernel},
		{confCheck, o.multipathConf},
		{"multipathd's maps", o.managed},
		{"sessions of others", o.unbound},
	}
	if o.Namesakes != nil {
		parts = append(parts, part{"other nodes' initiator names", func(ctx context.Context) (func(*Facts), error) {
			names, err := o.Namesakes(ctx)
			return func(f *Facts) { f.Namesakes = names }, err
		}})
	}
	if f.Node != nil {
		node := *f.Node
		parts = append(parts, part{"portals", func(ctx context.Context) (func(*Facts), error) {
			probes := probeAll(ctx, node, pairsOf(node, o.Portals))
			return func(f *Facts) { f.Probes = probes }, nil
		}}, part{"logins", func(ctx context.Context) (func(*Facts), error) {
			logins := o.findLogins(ctx, node)
			return func(f *Facts) { f.Logins = logins }, nil
		}}, part{"duplicate addresses", func(ctx context.Context) (func(*Facts), error) {
			duplicates, err := findDuplicates(ctx, node)
			return func(f *Facts) { f.Duplicates = duplicates }, err
		}})
	}
	f.run(ctx, parts)
	return f
}

// run runs parts at once.
func (f *Facts) run(ctx context.Context, parts []part) {
	outcomes := make(chan outcome, len(parts))
	waiting := map[string]bool{}
	for _, p := range parts {
		waiting[p.name] = true
		go func() {
			apply, err := p.find(ctx)
			outcomes <- outcome{p.name, apply, err}
		}()
	}
	for len(waiting) > 0 {
		select {
		case out := <-outcomes:
			delete(waiting, out.name)
			if out.apply != nil {
				out.apply(f)
			}
			if out.err != nil {
				f.Unknown[out.name] = out.err.Error()
			}
		case <-ctx.Done():
			for name := range waiting {
				f.Unknown[name] = tooLong
			}
			return
		}
	}
}

func (o Source) node(ctx context.Context) (func(*Facts), error) {
	s, err := o.Look(ctx)
	return func(f *Facts) { f.Node = &s }, err
}

func (o Source) iscsid(ctx context.Context) (func(*Facts), error) {
	var d ISCSID
	if d.Missing = o.missing("iscsiadm"); d.Missing {
		return func(f *Facts) { f.ISCSID = &d }, nil
	}
	var err error
	if d.Listens, err = o.listens(); err != nil {
		return nil, err
	}
	d.PID = o.process(iscsidName)
	d.Version = o.version(ctx, regexp.MustCompile(`iscsid version (\S+)`), iscsidName, "--version")
	return func(f *Facts) { f.ISCSID = &d }, nil
}

// missing says that a program is not installed. What cannot be looked at shows when it is used.
func (o Source) missing(program string) bool {
	found := true
	err := o.Host.InHost(func() error {
		_, err := hostexec.LookPath(program)
		found = err == nil
		return nil
	})
	return err == nil && !found
}

// version asks a program for it; empty when it does not say. Some print it with their usage, to stderr, and fail.
func (o Source) version(ctx context.Context, form *regexp.Regexp, program, flag string) string {
	out, err := o.Host.Run(ctx, nil, program, flag)
	text := string(out)
	if failed, ok := errors.AsType[*hostexec.Error](err); ok {
		text += failed.Stderr
	}
	if found := form.FindStringSubmatch(text); found != nil {
		return found[1]
	}
	return ""
}

// listens looks into the list of sockets instead of connecting: iscsid logs an error for a connection that says nothing.
func (o Source) listens() (bool, error) {
	raw, err := os.ReadFile(filepath.Join(o.Proc, "thread-self/net/unix"))
	if err != nil {
		return false, err
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		if strings.HasSuffix(lines.Text(), " "+socket) {
			return true, nil
		}
	}
	return false, lines.Err()
}

// process finds the first process of a name; 0 when there is none, or processes of the host cannot be seen.
func (o Source) process(name string) int {
	entries, _ := os.ReadDir(o.Proc)
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if comm, err := os.ReadFile(filepath.Join(o.Proc, e.Name(), "comm")); err == nil && strings.TrimSpace(string(comm)) == name {
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		return 0
	}
	return slices.Min(found)
}

func (o Source) multipathd(ctx context.Context) (func(*Facts), error) {
	var d Multipathd
	if d.Missing = o.missing("multipathd"); d.Missing {
		return func(f *Facts) { f.Multipathd = &d }, nil
	}
	d.State, d.Err = o.Multipathd.Do(ctx, "show daemon")
	d.Version = o.version(ctx, regexp.MustCompile(`multipath-tools v(\S+)`), "multipath", "--version")
	return func(f *Facts) { f.Multipathd = &d }, nil
}

func (o Source) kernel(ctx context.Context) (func(*Facts), error) {
	k := Kernel{Multipath: multipath.NewDM(o.Dev).Ready()}
	_, err := os.Stat(filepath.Join(string(o.Sys), "class/iscsi_transport/tcp"))
	k.ISCSITCP = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	cutter, err := tcpcut.New(ctx, tcpcut.Options{Proc: o.Proc, Owner: iscsidName})
	k.Cut, k.CutErr = cutter.Method(), err
	return func(f *Facts) { f.Kernel = &k }, nil
}

// multipathConf asks multipathd, or reads the files when it does not run.
func (o Source) multipathConf(ctx context.Context) (func(*Facts), error) {
	var m MultipathConf
	var files string
	err := o.Host.InHost(func() (err error) {
		m.Own, files, err = readConf()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read multipath.conf: %w", err)
	}
	m.Effective, err = o.Multipathd.Do(ctx, "show config")
	if err != nil {
		m.Effective, m.FromFiles = files, true
	}
	return func(f *Facts) { f.Multipath = &m }, nil
}

// readConf reads our file, and all of them in multipathd's order.
func readConf() (own, all string, err error) {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(multipath.ConfigFile), "*.conf"))
	if err != nil {
		return "", "", err
	}
	for _, name := range append([]string{confFile}, names...) {
		raw, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		if name == multipath.ConfigFile {
			own = string(raw)
		}
		all += string(raw) + "\n"
	}
	return own, all, nil
}

func (o Source) managed(ctx context.Context) (func(*Facts), error) {
	all, err := o.Multipathd.Maps(ctx)
	if err != nil {
		return func(*Facts) {}, nil //nolint:nilerr // that it does not answer is said of multipathd itself
	}
	managed := map[string]bool{}
	for _, m := range all {
		managed[m.ID] = true
	}
	return func(f *Facts) { f.Managed = managed }, nil
}

// unbound looks for sessions of others without a NIC. One that is not connected goes nowhere.
func (o Source) unbound(context.Context) (func(*Facts), error) {
	all, err := o.Sys.Sessions()
	if err != nil {
		return nil, err
	}
	var found []Unbound
	for _, s := range all {
		if _, ours := iscsi.InterfaceOf(s.Iface); ours || s.NIC != "" {
			continue
		}
		if c, err := o.Sys.Connection(s.ID); err == nil {
			found = append(found, Unbound{Session: s, Local: c.Local.Addr()})
		}
	}
	return func(f *Facts) { f.Unbound = found }, nil
}
