//go:build lab

// Package backend runs the contract of backends on the real one: portbind-targetd over LVM and the kernel's target.
package backend

import (
	"testing"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/backend/backendtest"
	"github.com/portbind/portbind/pkg/backend/lio"
	"github.com/portbind/portbind/test/lab/labenv"
)

func TestContract(t *testing.T) {
	labenv.Require(t, labenv.LIO, labenv.DMThin)
	e := labenv.New(t, labenv.Options{})
	pools := []labenv.Pool{e.Pool(8 << 30), e.Pool(8 << 30)}
	target := e.Target(labenv.TargetOptions{Pools: pools, CHAP: "required"})
	client, err := lio.New(lio.Config{Endpoint: target.Endpoint, TLS: lio.TLS{
		CA: target.PKI + "/ca.crt", Cert: target.PKI + "/client.crt", Key: target.PKI + "/client.key",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	backendtest.Run(t, func(*testing.T) backendtest.Fixture {
		return backendtest.Fixture{
			Backend: client, Pool: pools[0].Name(), OtherPool: pools[1].Name(),
			CHAP: &backend.CHAP{User: "contract", Secret: "a secret of 12+", TargetUser: "target", TargetSecret: "another of 12+"},
		}
	})
	e.Clean(t)
}
