package sysfs

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// Connection is the TCP connection of a session, as the kernel's socket has it.
type Connection struct {
	Local, Remote netip.AddrPort
}

// Connection reads that of a session: ErrGone when it has none at the moment.
func (f FS) Connection(session int) (Connection, error) {
	name := "session" + strconv.Itoa(session)
	host, err := f.sessionHost(name)
	if err != nil {
		return Connection{}, err
	}
	dir := fmt.Sprintf("class/iscsi_connection/connection%d:0", session)
	conn := reader{fs: f, dir: dir}
	near := reader{fs: f, dir: "class/iscsi_host/host" + strconv.Itoa(host)}
	c := Connection{
		Local:  portal(near.optional("ipaddress"), conn.optional("local_port")),
		Remote: portal(conn.optional("address"), conn.optional("port")),
	}
	if !c.Local.IsValid() || !c.Remote.IsValid() {
		return Connection{}, &Error{Op: "read", Path: f.path(dir), Err: errors.Join(ErrGone, errors.New("not connected"))}
	}
	return c, nil
}
