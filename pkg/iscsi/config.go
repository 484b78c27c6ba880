package iscsi

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// tunable are the settings of iscsid.conf that an administrator may want for our sessions: iSCSI and TCP parameters,
// queue depths, error handling. Startup, scan, retries, path loss timers and secrets are ours to say.
var tunable = []string{
	"node.session.auth.chap_algs",
	"node.session.cmds_max",
	"node.session.err_timeo.",
	"node.session.iscsi.",
	"node.session.queue_depth",
	"node.session.xmit_thread_priority",
	"node.conn[0].iscsi.",
	"node.conn[0].tcp.",
	"node.conn[0].timeo.logout_timeout",
}

// parseTuning reads iscsid.conf as idbm_recinfo_config does: "key = value", # at the line's beginning, the last of
// several counts. What it could not read as one value is left out.
func parseTuning(data []byte) []setting {
	var found []setting
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || !isTunable(key) {
			continue
		}
		var r record
		if r.set(key, value); r.err != nil {
			continue
		}
		found = slices.DeleteFunc(found, func(s setting) bool { return s.key == key })
		found = append(found, setting{key, value})
	}
	return found
}

func isTunable(key string) bool {
	odd := func(c rune) bool { return c <= ' ' || c > '~' }
	if strings.ContainsFunc(key, odd) {
		return false
	}
	return slices.ContainsFunc(tunable, func(t string) bool {
		if strings.HasSuffix(t, ".") {
			return strings.HasPrefix(key, t) && len(key) > len(t)
		}
		return key == t
	})
}

// tuning reads the host's configuration; without a file there is none. To be called with the host's files in view.
func (c *Client) tuning() ([]setting, error) {
	data, err := os.ReadFile(c.configFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseTuning(data), nil
}
