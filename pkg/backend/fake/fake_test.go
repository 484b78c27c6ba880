package fake_test

import (
	"net/netip"
	"testing"

	"github.com/portbind/portbind/pkg/backend/backendtest"
	"github.com/portbind/portbind/pkg/backend/fake"
)

func TestContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(*testing.T) backendtest.Fixture {
		b := fake.New("iqn.2026-11.io.portbind:fake",
			[]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3260")},
			map[string]int64{"fast": 1 << 40, "slow": 1 << 40})
		return backendtest.Fixture{Backend: b, Pool: "fast", OtherPool: "slow"}
	})
}
