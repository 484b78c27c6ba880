package server

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/target/pool"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

const (
	maxName = 63
	// maxIQN is the limit of RFC 7143, section 4.2.7.1, in bytes.
	maxIQN = 223
	// maxCredential is the kernel's MAX_USER_LEN and MAX_PASS_LEN less the NUL.
	maxCredential = 255
	// minSecret is the 96 bits that RFC 7143, section 9.2.1, asks for.
	minSecret = 12
	// maxAttributes and the forms bound what becomes tags of an LV.
	maxAttributes = 16
)

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	// iqnForm holds what RFC 3722 leaves of a name: the kernel compares bytes, and uses it as a directory.
	iqnForm = regexp.MustCompile(`^iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[a-z0-9.:-]+)?$`)

	attributeKeyForm   = regexp.MustCompile(`^[A-Za-z0-9]{1,63}$`)
	attributeValueForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
)

// ValidIQN says whether a name is an iSCSI qualified name in its normal form.
func ValidIQN(name string) bool { return len(name) <= maxIQN && iqnForm.MatchString(name) }

// key is what VolumeKey and SnapshotKey have in common.
type key interface {
	GetPool() string
	GetName() string
}

func checkName(field, name string) error {
	if len(name) > maxName || !nameForm.MatchString(name) {
		return invalid(field, "%.80q is not 1 to %d of [a-z0-9.-], first and last [a-z0-9]", name, maxName)
	}
	return nil
}

func checkKey(field string, k key) error {
	if err := checkName(field+".pool", k.GetPool()); err != nil {
		return err
	}
	return checkName(field+".name", k.GetName())
}

func checkAttributes(attributes map[string]string) error {
	if len(attributes) > maxAttributes {
		return invalid("attributes", "%d of them, at most %d are possible", len(attributes), maxAttributes)
	}
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		if !attributeKeyForm.MatchString(key) {
			return invalid("attributes", "key %.80q is not 1 to 63 letters and digits", key)
		}
		if value := attributes[key]; !attributeValueForm.MatchString(value) {
			return invalid("attributes."+key, "%.80q is not 1 to 63 of [A-Za-z0-9._-]", value)
		}
	}
	return nil
}

func checkInitiator(name string) error {
	if !ValidIQN(name) {
		return invalid("initiator", "%.300q is not an iSCSI name like iqn.2026-11.com.example:node-1, lower case, at most %d bytes", name, maxIQN)
	}
	return nil
}

// checkSizes gives the two bounds as the pools take them.
func checkSizes(required, limit uint64) (int64, int64, error) {
	if required > math.MaxInt64 {
		return 0, 0, invalid("required_bytes", "%d is above %d", required, int64(math.MaxInt64))
	}
	if limit > math.MaxInt64 {
		return 0, 0, invalid("limit_bytes", "%d is above %d", limit, int64(math.MaxInt64))
	}
	return int64(required), int64(limit), nil
}

// checkSource gives the source of a new volume, which has to be in the volume's pool.
func checkSource(req *targetv1.CreateVolumeRequest) (pool.Source, error) {
	snap, vol := req.GetSourceSnapshot(), req.GetSourceVolume()
	switch {
	case snap != nil && vol != nil:
		return pool.Source{}, invalid("source_volume", "only one of source_snapshot and source_volume can be set")
	case snap != nil:
		return source(pool.FromSnapshot, "source_snapshot", snap, req.GetKey())
	case vol != nil:
		return source(pool.FromVolume, "source_volume", vol, req.GetKey())
	}
	return pool.Source{}, nil
}

func source(kind pool.SourceKind, field string, k key, of *targetv1.VolumeKey) (pool.Source, error) {
	if err := checkKey(field, k); err != nil {
		return pool.Source{}, err
	}
	if k.GetPool() != of.GetPool() {
		return pool.Source{}, invalid(field+".pool", "a volume is made from a source in its own pool, %s, not in %s", of.GetPool(), k.GetPool())
	}
	return pool.Source{Kind: kind, Name: k.GetName()}, nil
}

// checkCHAP never puts a value into its error.
func checkCHAP(c *targetv1.Chap, required bool) error {
	if c == nil {
		if required {
			return invalid("chap", "this target lets nobody in without CHAP credentials")
		}
		return nil
	}
	for _, f := range []struct {
		field, value string
		least        int
		optional     bool
	}{
		{field: "chap.user", value: c.GetUser(), least: 1},
		{field: "chap.secret", value: c.GetSecret(), least: minSecret},
		{field: "chap.target_user", value: c.GetTargetUser(), least: 1, optional: true},
		{field: "chap.target_secret", value: c.GetTargetSecret(), least: minSecret, optional: true},
	} {
		if f.optional && f.value == "" {
			continue
		}
		if len(f.value) < f.least || len(f.value) > maxCredential || !credential(f.value) {
			return invalid(f.field, "has to be %d to %d printable ASCII characters, without spaces at its ends, and not begin with NULL",
				f.least, maxCredential)
		}
	}
	if (c.GetTargetUser() == "") != (c.GetTargetSecret() == "") {
		return invalid("chap.target_user", "target_user and target_secret: both or neither")
	}
	if c.GetSecret() == c.GetTargetSecret() {
		// RFC 7143, section 9.2.1: one secret for both directions could be reflected.
		return invalid("chap.target_secret", "has to differ from secret")
	}
	return nil
}

// credential says whether the kernel stores a value as it is. It takes NULL at the beginning for "unset", and ends
// some at a newline.
func credential(s string) bool {
	printable := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	return printable && s == strings.TrimSpace(s) && !strings.HasPrefix(s, "NULL")
}
