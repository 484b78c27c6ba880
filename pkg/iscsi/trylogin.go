package iscsi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// Admission is a login that is to be tried.
type Admission struct {
	Asking

	CHAP *CHAP // nil: the target is to ask for none
}

// TryLogin goes through the security stage of a login, both sides proving themselves, and hangs up before there is a session. Its ISID is
// random, so that none is reinstated. Errors wrap ErrAuth, ErrDenied, ErrRefused, ErrUnreachable or ErrTimeout.
func TryLogin(ctx context.Context, a Admission) error {
	conn, err := dialFrom(ctx, a.NIC, a.Portal)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l := login{conn: conn, auth: authentication{chap: a.CHAP, learn: true}, securityOnly: true}
	_, _ = rand.Read(l.isid[:]) // never fails
	l.isid[0] = isidRandom
	if err := l.run(a.Asking); err != nil {
		return fmt.Errorf("try a login at %s from %s: %w", a.Portal, a.NIC, errors.Join(err, ctx.Err()))
	}
	return nil
}
