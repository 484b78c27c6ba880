package iscsi

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/portbind/portbind/pkg/hostexec"
)

// What can go wrong with a login, apart from a context's end.
var (
	// ErrAuth: the target refused who we say we are, or we it.
	ErrAuth = errors.New("authentication failed")
	// ErrUnreachable: no TCP connection to the portal.
	ErrUnreachable = errors.New("portal unreachable")
	// ErrTimeout: the portal did not answer in time.
	ErrTimeout = errors.New("portal timed out")
	// ErrRefused: the target answered and declined for another reason: no such target, no access, parameters.
	ErrRefused = errors.New("login refused")
	// ErrNotReady: open-iscsi or the kernel's iscsi_tcp is missing on this node; the message says what to install.
	ErrNotReady = errors.New("node not ready for iSCSI")
	// ErrInvalid: an argument cannot go into a record of open-iscsi.
	ErrInvalid = errors.New("invalid")
	// ErrNotOurs: the session is not, or no longer, the one that it was taken for.
	ErrNotOurs = errors.New("not our session")
	// ErrBusy: iscsid is at work on the session; try again later.
	ErrBusy = errors.New("session busy")
	// ErrNoRecord: iscsiadm knows no such record.
	ErrNoRecord = errors.New("no such record")
)

// Error says which operation failed on which session.
type Error struct {
	Op   string
	Node NodeID
	Err  error
}

// Error gives one line.
func (e *Error) Error() string {
	where := ""
	if e.Node != (NodeID{}) {
		where = fmt.Sprintf(" %s at %s on interface %s", e.Node.Target, e.Node.Portal, e.Node.Interface)
	}
	return "iscsi: " + e.Op + where + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Exit codes of iscsiadm (open-iscsi include/iscsi_err.h).
const (
	exitSessionNotFound     = 2
	exitTransport           = 4
	exitLogin               = 5
	exitTransportTimeout    = 8
	exitInternal            = 9
	exitPDUTimeout          = 11
	exitTransportNotFound   = 12
	exitSessionExists       = 15
	exitDaemonComm          = 18
	exitFatalLogin          = 19
	exitDaemonNotConn       = 20
	exitNoObjects           = 21
	exitAuth                = 24
	exitBusy                = 28
	exitSessionNotConnected = 32
	exitRequestTimedOut     = 33
)

var exitErrors = map[int]error{
	exitTransport:         ErrUnreachable,
	exitLogin:             ErrRefused,
	exitTransportTimeout:  ErrTimeout,
	exitPDUTimeout:        ErrTimeout,
	exitTransportNotFound: ErrNotReady,
	exitDaemonComm:        ErrNotReady,
	exitFatalLogin:        ErrRefused,
	exitDaemonNotConn:     ErrNotReady,
	exitNoObjects:         ErrNoRecord,
	exitAuth:              ErrAuth,
	exitRequestTimedOut:   ErrTimeout,
}

// exitCode is the status of the program behind err, -1 when it has none.
func exitCode(err error) int {
	var e *hostexec.Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.ExitCode
}

// classify adds the sentinel that fits iscsiadm's exit code.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if hint := hostexec.MissingHint(err); hint != "" {
		return fmt.Errorf("%w: %s: %w", ErrNotReady, hint, err)
	}
	if sentinel, ok := exitErrors[exitCode(err)]; ok {
		return fmt.Errorf("%w: %w", sentinel, brief{err})
	}
	return err
}

// reported is what iscsiadm prints, among other things, of a failure that iscsid has given a number.
var reported = regexp.MustCompile(`initiator reported error \((\d+ - .*)\)`)

// brief is a failure of iscsiadm that says no more than what iscsid reported, if it did: session and portal are said in front of it anyway,
// and Kubernetes cuts what does not fit an Event.
type brief struct{ error }

// Error gives one line.
func (b brief) Error() string {
	if e, ok := errors.AsType[*hostexec.Error](b.error); ok {
		if said := reported.FindStringSubmatch(e.Stderr); said != nil {
			return "iscsid: " + said[1]
		}
	}
	return b.error.Error()
}

// Unwrap gives the whole of it.
func (b brief) Unwrap() error { return b.error }
