package vm

import (
	"net"
	"sync"
)

// lateConn is a connection that the other side has yet to make.
type lateConn struct {
	l    net.Listener
	once sync.Once
	conn net.Conn
	err  error
}

func (c *lateConn) accept() error {
	c.once.Do(func() {
		c.conn, c.err = c.l.Accept()
		_ = c.l.Close()
	})
	return c.err
}

// Read implements io.Reader.
func (c *lateConn) Read(p []byte) (int, error) {
	if err := c.accept(); err != nil {
		return 0, err
	}
	return c.conn.Read(p)
}

// Write implements io.Writer.
func (c *lateConn) Write(p []byte) (int, error) {
	if err := c.accept(); err != nil {
		return 0, err
	}
	return c.conn.Write(p)
}
