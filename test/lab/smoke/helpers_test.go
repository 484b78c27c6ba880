//go:build lab

package smoke

import (
	"os"

	"github.com/portbind/portbind/test/lab/labenv"
)

func login(e *labenv.Env) {
	e.T.Helper()
	for _, nic := range e.Net.NICs {
		e.Iface(nic)
	}
	e.Run("iscsiadm", "-m", "discovery", "-t", "st", "-p", e.Net.Portals[0], "-I", "san0", "-I", "san1")
	e.Run("iscsiadm", "-m", "node", "-T", iqn, "--login")
}

func loggedIn() int {
	n := 0
	for _, s := range labenv.Sessions() {
		if s.State == "LOGGED_IN" {
			n++
		}
	}
	return n
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
