package multipath

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets are where multipathd listens: the abstract name of all versions, and the file of 0.11 and later, which
// works across network namespaces.
var sockets = []string{"@/org/kernel/linux/storage/multipathd", "/run/multipathd.socket"}

const (
	// maxReply bounds what is read as one answer: 10,000 maps of 8 paths are 30 MB of JSON.
	maxReply = 64 << 20
	// answerTime bounds a command whose caller has no deadline. multipathd itself gives up after uxsock_timeout, 4 s.
	answerTime = 30 * time.Second
)

// Client speaks with multipathd. It holds no connection; safe for concurrent use.
type Client struct {
	addrs []string
}

// NewClient returns a client of this machine's multipathd.
func NewClient() *Client { return &Client{addrs: sockets} }

// NewClientAt returns a client of a multipathd on another socket ("@name" is abstract); for tests.
func NewClientAt(addr string) *Client { return &Client{addrs: []string{addr}} }

// Do sends one command and returns the answer without its final newline. An answer of "fail" is ErrRefused, one of
// "timeout" ErrBusy, as is none at all in time, no multipathd ErrNotRunning.
func (c *Client) Do(ctx context.Context, command string) (string, error) {
	answer, err := c.exchange(ctx, command)
	if err == nil {
		err = verdict(answer)
	}
	if err != nil {
		return "", &Error{Op: "multipathd", On: command, Err: err}
	}
	return strings.TrimRight(answer, "\n"), nil
}

func (c *Client) exchange(ctx context.Context, command string) (string, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, ok := ctx.Deadline(); !ok {
		_ = conn.SetDeadline(time.Now().Add(answerTime))
	}
	answer, err := talk(conn, command)
	if cause := ctx.Err(); cause != nil {
		return "", cause
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", ErrBusy
	}
	return answer, err
}

// dial waits while multipathd has as many connections to accept as its queue takes, 10 or so (EAGAIN, unix(7)): nothing tells when there
// is room again.
func (c *Client) dial(parent context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(parent, answerTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := c.dialNow(context.WithoutCancel(ctx))
		if !errors.Is(err, unix.EAGAIN) {
			return conn, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, cmp.Or(parent.Err(), ErrBusy)
		}
	}
}

// dialNow gives a connection to the first address that takes one, EAGAIN when one would, later. Neither is waited for.
func (c *Client) dialNow(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	failed := ErrNotRunning
	for _, addr := range c.addrs {
		conn, err := d.DialContext(ctx, "unix", addr)
		if err == nil {
			return conn, nil
		}
		if errors.Is(err, unix.EAGAIN) {
			failed = err
		}
	}
	return nil, failed
}

// talk is one exchange of mpath_cmd.c: the length as size_t in the machine's order, then a NUL-terminated string.
func talk(conn io.ReadWriter, command string) (string, error) {
	msg := binary.NativeEndian.AppendUint64(nil, uint64(len(command)+1))
	msg = append(append(msg, command...), 0)
	// multipathd reads length and text with two recv calls; both may come in one write.
	if _, err := conn.Write(msg); err != nil {
		return "", err
	}
	return readAnswer(conn)
}

func readAnswer(r io.Reader) (string, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	n := binary.NativeEndian.Uint64(head[:])
	if n == 0 || n > maxReply {
		return "", fmt.Errorf("%w: length %d", ErrFormat, n)
	}
	var text strings.Builder
	if _, err := io.CopyN(&text, r, int64(n)); err != nil {
		return "", fmt.Errorf("answer cut short: %w", err)
	}
	body, _, _ := strings.Cut(text.String(), "\x00")
	return body, nil
}

// verdict reads the last line: details come before "ok" and "fail" (cli_handlers.c, uxlsnr.c default_reply).
func verdict(answer string) error {
	text := strings.TrimSpace(answer)
	last := text[strings.LastIndexByte(text, '\n')+1:]
	detail := strings.ReplaceAll(strings.TrimSpace(strings.TrimSuffix(text, last)), "\n", ", ")
	switch {
	case last == "fail" && detail != "":
		return fmt.Errorf("%w: %s", ErrRefused, detail)
	case last == "fail", last == "blacklisted":
		return fmt.Errorf("%w (%s)", ErrRefused, last)
	case last == "timeout":
		return ErrBusy
	case strings.HasPrefix(last, "permission denied"), strings.HasPrefix(last, "invalid"):
		return fmt.Errorf("%w: %s", ErrRefused, last)
	}
	return nil
}

// names are sent unquoted: what multipathd's parser would split or complete never gets there.
var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}$`)

func (c *Client) act(ctx context.Context, verb, object, name string) error {
	if !nameRE.MatchString(name) {
		return &Error{Op: verb + " " + object, On: fmt.Sprintf("%q", name), Err: ErrInput}
	}
	_, err := c.Do(ctx, verb+" "+object+" "+name)
	return err
}

// AddMap makes multipathd adopt a map that exists in the kernel. A map that it knows already is no error.
func (c *Client) AddMap(ctx context.Context, name string) error {
	return c.act(ctx, "add", "map", name)
}

// DelMap makes multipathd remove a map that nothing holds open.
func (c *Client) DelMap(ctx context.Context, name string) error {
	return c.act(ctx, "del", "map", name)
}

// AddPath makes multipathd take the disk ("sdb") into its map. It refuses before udev has handled the disk.
func (c *Client) AddPath(ctx context.Context, disk string) error {
	return c.act(ctx, "add", "path", disk)
}

// DelPath makes multipathd forget the disk and take it out of its map.
func (c *Client) DelPath(ctx context.Context, disk string) error {
	return c.act(ctx, "del", "path", disk)
}

// FailPath makes the map avoid the disk until the checker, or ReinstatePath, brings it back.
func (c *Client) FailPath(ctx context.Context, disk string) error {
	return c.act(ctx, "fail", "path", disk)
}

// ReinstatePath makes the map use the disk again.
func (c *Client) ReinstatePath(ctx context.Context, disk string) error {
	return c.act(ctx, "reinstate", "path", disk)
}

// Resize makes the map as large as its first path is. Refused when multipathd knows that size already.
func (c *Client) Resize(ctx context.Context, name string) error {
	return c.act(ctx, "resize", "map", name)
}

// DisableQueueing makes I/O of a map without paths fail, until RestoreQueueing.
func (c *Client) DisableQueueing(ctx context.Context, name string) error {
	return c.act(ctx, "disablequeueing", "map", name)
}

// RestoreQueueing lets the map's no_path_retry rule again.
func (c *Client) RestoreQueueing(ctx context.Context, name string) error {
	return c.act(ctx, "restorequeueing", "map", name)
}

// Reconfigure makes multipathd read its configuration again and change the maps that it concerns.
func (c *Client) Reconfigure(ctx context.Context) error {
	_, err := c.Do(ctx, "reconfigure")
	return err
}

// Ready says that multipathd answers and is past its start; ErrNotRunning or ErrBusy otherwise.
func (c *Client) Ready(ctx context.Context) error {
	state, err := c.Do(ctx, "show daemon")
	if err != nil {
		return err
	}
	// "pid 412 idle"; "configure" while it reads its configuration, when commands wait.
	if strings.HasSuffix(state, "idle") || strings.HasSuffix(state, "running") {
		return nil
	}
	return &Error{Op: "multipathd", On: "show daemon", Err: fmt.Errorf("%w: %q", ErrBusy, state)}
}

// Busy says whether multipathd has uevents to handle still: what it knows of disks may be of the past.
func (c *Client) Busy(ctx context.Context) (bool, error) {
	text, err := c.Do(ctx, "show status")
	if err != nil {
		return false, err
	}
	_, state, ok := strings.Cut(text, "busy:")
	if !ok {
		return false, &Error{Op: "multipathd", On: "show status", Err: fmt.Errorf("%w: %q", ErrFormat, text)}
	}
	return strings.TrimSpace(state) == "True", nil
}
