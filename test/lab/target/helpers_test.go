//go:build lab

// Package target shows on a real kernel that portbind-targetd does what its API says: every call, restoring after
// crashes and reboots, fencing, CHAP, and convergence after a SIGKILL at each of its steps.
package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	mib      = 1 << 20
	gib      = 1 << 30
	nodeA    = "iqn.2026-11.io.portbind.lab:node-a"
	nodeB    = "iqn.2026-11.io.portbind.lab:node-b"
	configfs = "/sys/kernel/config/target"
)

// setup is a storage host with one pool.
type setup struct {
	*labenv.Env
	target *labenv.Target
	api    targetv1.TargetClient
	pool   string
}

func start(t *testing.T, o labenv.TargetOptions) *setup {
	t.Helper()
	return startSized(t, o, 4*gib)
}

// startSized is start with a volume group of that many bytes.
func startSized(t *testing.T, o labenv.TargetOptions, size int64) *setup {
	t.Helper()
	labenv.Require(t, labenv.LIO, labenv.DMThin)
	e := labenv.New(t, labenv.Options{})
	o.Pools = []labenv.Pool{e.Pool(size)}
	s := &setup{Env: e, target: e.Target(o)}
	s.pool = s.target.Pools[0].Name()
	s.api = s.connect("client")
	return s
}

// connect gives a client with the certificate of that name.
func (s *setup) connect(name string) targetv1.TargetClient {
	s.T.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(s.target.PKI, name+".crt"), filepath.Join(s.target.PKI, name+".key"))
	s.must(err)
	ca, err := os.ReadFile(filepath.Join(s.target.PKI, "ca.crt"))
	s.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conn, err := grpc.NewClient(s.target.Endpoint, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{cert},
	})), grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	s.must(err)
	s.T.Cleanup(func() { _ = conn.Close() })
	return targetv1.NewTargetClient(conn)
}

func (s *setup) must(err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}

// ctx is for one call, which waits for a daemon that is just starting.
func (s *setup) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.T.Cleanup(cancel)
	return ctx
}

var wait = grpc.WaitForReady(true)

func (s *setup) key(name string) *targetv1.VolumeKey {
	return &targetv1.VolumeKey{Pool: s.pool, Name: name}
}

func (s *setup) snapKey(name string) *targetv1.SnapshotKey {
	return &targetv1.SnapshotKey{Pool: s.pool, Name: name}
}

func (s *setup) create(name string, size uint64) *targetv1.Volume {
	s.T.Helper()
	v, err := s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key(name), RequiredBytes: size}, wait)
	s.must(err)
	return v
}

func (s *setup) publish(name, initiator string, shared bool) uint32 {
	s.T.Helper()
	r, err := s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key(name), Initiator: initiator, Shared: shared}, wait)
	s.must(err)
	return r.GetLun()
}

func (s *setup) unpublish(name, initiator string) {
	s.T.Helper()
	_, err := s.api.Unpublish(s.ctx(), &targetv1.UnpublishRequest{Key: s.key(name), Initiator: initiator}, wait)
	s.must(err)
}

func (s *setup) remove(name string) {
	s.T.Helper()
	_, err := s.api.DeleteVolume(s.ctx(), &targetv1.DeleteVolumeRequest{Key: s.key(name)}, wait)
	s.must(err)
}

func (s *setup) removeSnapshot(name string) {
	s.T.Helper()
	_, err := s.api.DeleteSnapshot(s.ctx(), &targetv1.DeleteSnapshotRequest{Key: s.snapKey(name)}, wait)
	s.must(err)
}

// want checks an error's code, and that its message has the given words.
func (s *setup) want(err error, code codes.Code, words ...string) {
	s.T.Helper()
	if status.Code(err) != code {
		s.T.Errorf("got %v, want %v", err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			s.T.Errorf("%q is not in: %v", w, err)
		}
	}
}

// lvs lists our logical volumes, active or not.
func (s *setup) lvs() []string {
	s.T.Helper()
	out := strings.Fields(s.Run("lvs", "--noheadings", "-o", "lv_name", "-S", "lv_tags={portbind}", s.target.Pools[0].VG))
	slices.Sort(out)
	return out
}

// state lists all that the target has in the kernel: backstores, LUNs, ACLs, mappings.
func (s *setup) state() []string {
	var all []string
	for _, pattern := range []string{
		"/core/iblock_1618/*/udev_path", "/iscsi/*/tpgt_1/lun/lun_*", "/iscsi/*/tpgt_1/acls/*", "/iscsi/*/tpgt_1/acls/*/lun_*",
	} {
		found, err := filepath.Glob(configfs + pattern)
		s.must(err)
		all = append(all, found...)
	}
	return all
}

// nothingLeft checks that no LV, LUN, ACL or backstore is there.
func (s *setup) nothingLeft() {
	s.T.Helper()
	if left := append(s.lvs(), s.state()...); len(left) > 0 {
		s.T.Errorf("left over: %v", left)
	}
}

// attr reads an attribute below the target.
func (s *setup) attr(path string) string {
	s.T.Helper()
	b, err := os.ReadFile(filepath.Join(configfs, "iscsi", s.target.IQN, "tpgt_1", path))
	s.must(err)
	return strings.TrimSpace(string(b))
}

// block reads the first bytes of a volume that is not published.
func (s *setup) block(name string) []byte {
	s.T.Helper()
	lv := s.target.Pools[0].VG + "/pbv_" + name
	s.Run("lvchange", "-ay", "-K", lv)
	defer s.Run("lvchange", "-an", lv)
	f, err := os.Open("/dev/" + lv)
	s.must(err)
	defer f.Close()
	b := make([]byte, 4096)
	_, err = f.Read(b)
	s.must(err)
	return b
}
