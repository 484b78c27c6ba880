package iscsi

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

const (
	tagKey = "node.tpgt"
	// unknownTag makes login.c take the target's portal group tag instead of comparing it with the record's.
	unknownTag = -1
	// firstTag names the directory of records whose tag is unknown, for which iscsiadm wants a number, too: LIO's usual.
	firstTag = 1
	// maxTag is the largest portal group tag (RFC 7143, section 13.9).
	maxTag = 65535
)

// The timers of a record.
const (
	replacementKey = "node.session.timeo.replacement_timeout"
	loginKey       = "node.conn[0].timeo.login_timeout"
	intervalKey    = "node.conn[0].timeo.noop_out_interval"
	timeoutKey     = "node.conn[0].timeo.noop_out_timeout"
)

// maxValue is what idbm_recinfo_config reads of a value, less its NUL (VALUE_MAXVAL).
const maxValue = 255

var (
	// interfacePattern: binding's rule, held here too since the name becomes a file name.
	interfacePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	nicPattern       = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}$`)
)

// record is the text of a record file: "key = value" lines. Keys that are not in it get the defaults that are
// compiled into open-iscsi, so records stay readable for older and newer versions.
type record struct {
	text strings.Builder
	err  error
}

// set adds a line. The parser strips white space around a value and ends it at the line, so that and the empty value
// cannot be written. The value is never in the error: it may be a secret.
func (r *record) set(key, value string) {
	bad := value == "" || len(value) > maxValue || value != strings.TrimSpace(value) ||
		strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f })
	if bad && r.err == nil {
		r.err = fmt.Errorf("%w %s: want 1 to %d characters without control characters or outer white space", ErrInvalid, key, maxValue)
	}
	r.text.WriteString(key + " = " + value + "\n")
}

// seconds adds a duration.
func (r *record) seconds(key string, d time.Duration) {
	if (d < time.Second || d%time.Second != 0) && r.err == nil {
		r.err = fmt.Errorf("%w %s: %s: want whole seconds, at least 1", ErrInvalid, key, d)
	}
	r.set(key, fmt.Sprint(int64(d/time.Second)))
}

// bytes is the whole file.
func (r *record) bytes() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	return []byte("# BEGIN RECORD portbind\n" + r.text.String() + "# END RECORD\n"), nil
}

// checkIface refuses what must not become a file name or a line of a record.
func checkIface(i Iface) error {
	if !interfacePattern.MatchString(i.Interface) {
		return fmt.Errorf("%w interface name %.64q", ErrInvalid, i.Interface)
	}
	if !nicPattern.MatchString(i.NIC) {
		return fmt.Errorf("%w network device %.64q", ErrInvalid, i.NIC)
	}
	return checkName(i.Initiator)
}

// checkID is checkIface for what names a node record.
func checkID(id NodeID) error {
	if !interfacePattern.MatchString(id.Interface) {
		return fmt.Errorf("%w interface name %.64q", ErrInvalid, id.Interface)
	}
	addr := id.Portal.Addr()
	if !id.Portal.IsValid() || id.Portal.Port() == 0 || addr.Zone() != "" || addr != addr.Unmap() {
		return fmt.Errorf("%w portal %s", ErrInvalid, id.Portal)
	}
	return checkName(id.Target)
}

// checkName wants the canonical form: any other would be a second record for the same node.
func checkName(name string) error {
	canonical, err := iscsiname.Parse(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if canonical != name {
		return fmt.Errorf("%w iSCSI name %q: want its canonical form %q", ErrInvalid, name, canonical)
	}
	return nil
}

func (r *record) iface(i Iface) {
	r.set("iface.iscsi_ifacename", IfaceName(i.Interface))
	r.set("iface.net_ifacename", i.NIC)
	r.set("iface.transport_name", "tcp")
	r.set("iface.initiatorname", i.Initiator)
}

// ifaceRecord is the content of ifaces/NAME.
func ifaceRecord(i Iface) ([]byte, error) {
	if err := checkIface(i); err != nil {
		return nil, err
	}
	var r record
	r.iface(i)
	return r.bytes()
}

// setting is one line of iscsid.conf.
type setting struct{ key, value string }

// nodeRecord is the content of nodes/TARGET/ADDRESS,PORT,TPGT/IFACE. iscsid takes what a session is from here, the
// NIC too: the iface record only says that the iface exists.
func nodeRecord(n Node, tag int, tuned []setting) ([]byte, error) {
	if err := checkIface(n.Iface); err != nil {
		return nil, err
	}
	if err := checkID(n.ID()); err != nil {
		return nil, err
	}
	var r record
	r.set("node.name", n.Target)
	r.set(tagKey, strconv.Itoa(tag))
	r.set("node.startup", "manual")
	r.iface(n.Iface)
	r.set("node.discovery_type", "static")
	for _, s := range tuned {
		r.set(s.key, s.value)
	}
	// A login that fails is ours to repeat: with the default of 8 a dead portal takes minutes.
	r.set("node.session.initial_login_retry_max", "1")
	r.set("node.session.nr_sessions", "1")
	// Else every LUN of the target appears on login.
	r.set("node.session.scan", "manual")
	// A lost session is reopened for as long as it takes.
	r.set("node.session.reopen_max", "0")
	r.auth(n.CHAP)
	r.seconds(replacementKey, n.Timers.Replacement)
	r.set("node.conn[0].address", n.Portal.Addr().String())
	r.set("node.conn[0].port", fmt.Sprint(n.Portal.Port()))
	r.set("node.conn[0].startup", "manual")
	r.seconds(loginKey, n.Timers.Login)
	r.seconds(intervalKey, n.Timers.NoopInterval)
	r.seconds(timeoutKey, n.Timers.NoopTimeout)
	return r.bytes()
}

func (r *record) auth(c *CHAP) {
	if c == nil {
		r.set("node.session.auth.authmethod", "None")
		return
	}
	r.set("node.session.auth.authmethod", "CHAP")
	r.set("node.session.auth.username", c.User)
	r.set("node.session.auth.password", c.Secret)
	if c.TargetUser != "" || c.TargetSecret != "" {
		r.set("node.session.auth.username_in", c.TargetUser)
		r.set("node.session.auth.password_in", c.TargetSecret)
	}
}

// recordTag reads the tag in a record; unknownTag when it has none.
func recordTag(data []byte) int {
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, tagKey+" = "); ok {
			if tag, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && tag >= 0 && tag <= maxTag {
				return tag
			}
		}
	}
	return unknownTag
}

// withTag replaces the tag in a record of ours.
func withTag(data []byte, tag int) []byte {
	return with(data, map[string]string{tagKey: strconv.Itoa(tag)})
}

// withTimers replaces the timers in a record of ours.
func withTimers(data []byte, t Timers) []byte {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	return with(data, map[string]string{
		replacementKey: seconds(t.Replacement), loginKey: seconds(t.Login),
		intervalKey: seconds(t.NoopInterval), timeoutKey: seconds(t.NoopTimeout),
	})
}

// with replaces the values of keys that are there.
func with(data []byte, values map[string]string) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		key, _, _ := strings.Cut(line, " = ")
		if value, ok := values[key]; ok {
			line = key + " = " + value + "\n"
		}
		out.WriteString(line)
	}
	return []byte(out.String())
}

// portalDir is the directory of a portal's records.
func portalDir(portal netip.AddrPort, tpgt int) string {
	return fmt.Sprintf("%s,%d,%d", portal.Addr(), portal.Port(), tpgt)
}
