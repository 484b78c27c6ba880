package clusterenv

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Scenarios of all processes share the cluster by a lock on a file of its run.
const (
	alone    = syscall.LOCK_EX
	together = syscall.LOCK_SH
)

// hold waits for the lock, and gives up what it had of it before. It goes with the Env.
func (e *Env) hold(how int) error {
	for {
		err := syscall.Flock(int(e.lock.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// finish looks for leftovers: everywhere, if nobody else is there, else for volumes of the namespace, which is gone.
func (e *Env) finish() {
	e.T.Helper()
	if !e.shared {
		e.Clean()
		return
	}
	own := func() []string {
		return strings.Fields(e.Kubectl("get", "persistentvolumes", "-o", fmt.Sprintf(
			`jsonpath={range .items[?(@.spec.claimRef.namespace==%q)]}{.metadata.name}{"\n"}{end}`, e.Namespace)))
	}
	e.without(own)
	if e.hold(alone|syscall.LOCK_NB) == nil {
		e.Clean()
	}
}

// without fails the test when things stay.
func (e *Env) without(things func() []string) {
	e.T.Helper()
	deadline := time.Now().Add(Limit)
	tick := time.NewTicker(2 * time.Second) // looking takes CPU time that the machines need
	defer tick.Stop()
	left := things()
	for len(left) > 0 && time.Now().Before(deadline) {
		<-tick.C
		left = things()
	}
	if len(left) > 0 {
		e.T.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
}
