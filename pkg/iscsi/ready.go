package iscsi

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/portbind/portbind/pkg/hostexec"
)

// daemonSocket is where iscsid, or systemd in its place, listens: an abstract socket of our network namespace.
const daemonSocket = "@ISCSIADM_ABSTRACT_NAMESPACE"

// Ready says whether sessions can be made on this node, else an error that wraps ErrNotReady and says what to install
// or start. It loads the kernel module iscsi_tcp when it is not there; otherwise no program is started.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.host.InHost(findAdmin); err != nil {
		return wrap("check node", NodeID{}, err)
	}
	if err := c.checkTransport(ctx); err != nil {
		return wrap("check node", NodeID{}, err)
	}
	return wrap("check node", NodeID{}, c.checkDaemon())
}

func findAdmin() error {
	if _, err := hostexec.LookPath("iscsiadm"); err != nil {
		return fmt.Errorf("%w: %s", ErrNotReady, hostexec.InstallHint("iscsiadm"))
	}
	return nil
}

// checkTransport looks for the kernel's iSCSI over TCP.
func (c *Client) checkTransport(ctx context.Context) error {
	transport := filepath.Join(c.sys, "class", "iscsi_transport", "tcp")
	if _, err := os.Stat(transport); err == nil {
		return nil
	}
	if _, err := c.host.Run(ctx, nil, "modprobe", "iscsi_tcp"); err != nil {
		return fmt.Errorf("%w: kernel module iscsi_tcp cannot be loaded; install the modules package of the running kernel "+
			"(Ubuntu: linux-modules-extra): %w", ErrNotReady, err)
	}
	if _, err := os.Stat(transport); err != nil {
		return fmt.Errorf("%w: kernel module iscsi_tcp is loaded but gives no transport: %w", ErrNotReady, err)
	}
	return nil
}

// checkDaemon looks for a listener in /proc/net/unix instead of connecting: iscsid logs an error for a connection that
// says nothing.
func (c *Client) checkDaemon() error {
	// Not /proc/net: that is about the first thread, which need not be in our namespace.
	path := filepath.Join(c.proc, "thread-self", "net", "unix")
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if strings.HasSuffix(lines.Text(), " "+daemonSocket) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return fmt.Errorf("%w: iscsid is not listening in this network namespace; install open-iscsi (RHEL, Fedora: "+
		"iscsi-initiator-utils), systemctl enable --now iscsid.socket, and run with the host's network", ErrNotReady)
}
