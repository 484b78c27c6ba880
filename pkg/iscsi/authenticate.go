package iscsi

import (
	"crypto/md5" //nolint:gosec // what CHAP is made of (RFC 7143, section 12.1.3)
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// chapHashes are the algorithms that are offered, by their number at IANA, the better one first.
var chapHashes = []struct {
	number string
	hash   func() hash.Hash
}{{"7", sha256.New}, {"5", md5.New}}

// maxChallenge is the longest challenge (RFC 7143, section 12.1.3), challengeLength that of ours.
const (
	maxChallenge    = 1024
	challengeLength = 16
)

// authentication is the initiator's part of a login's security stage.
type authentication struct {
	chap *CHAP
	// learn has the target say that it wants CHAP where we have none; LIO hangs up on who offers nothing but None then.
	learn bool
	// done says that we have proven ourselves, or need not.
	done bool
	// expected is what the target has to answer our challenge with.
	expected []byte
}

// offer begins it.
func (a *authentication) offer() string {
	if a.chap == nil {
		a.done = true
		if a.learn {
			return "AuthMethod=None,CHAP"
		}
		return "AuthMethod=None"
	}
	return "AuthMethod=CHAP,None"
}

// reply answers what the target said.
func (a *authentication) reply(keys map[string]string) ([]string, error) {
	switch {
	case keys["CHAP_A"] != "":
		return a.respond(keys)
	case keys["AuthMethod"] == "CHAP" && a.chap != nil:
		var numbers []string
		for _, h := range chapHashes {
			numbers = append(numbers, h.number)
		}
		return []string{"CHAP_A=" + strings.Join(numbers, ",")}, nil
	case keys["AuthMethod"] == "CHAP":
		return nil, fmt.Errorf("%w: the target wants CHAP, and there is no secret for it", ErrAuth)
	case keys["AuthMethod"] == "None":
		a.done = true
		return nil, nil
	case len(keys) == 0 || a.done:
		return nil, nil
	}
	return nil, fmt.Errorf("%w: the target wants the method %q", ErrAuth, keys["AuthMethod"])
}

// respond proves who we are and, for mutual CHAP, asks the target to do the same.
func (a *authentication) respond(keys map[string]string) ([]string, error) {
	if a.chap == nil {
		return nil, fmt.Errorf("%w: the target wants CHAP, and there is no secret for it", ErrAuth)
	}
	for _, h := range chapHashes {
		if h.number != keys["CHAP_A"] {
			continue
		}
		id, err := strconv.ParseUint(keys["CHAP_I"], 10, 8)
		if err != nil {
			return nil, fmt.Errorf("%w: the target's CHAP_I is no number of 8 bits", ErrAuth)
		}
		challenge, err := parseBinary(keys["CHAP_C"])
		if err != nil {
			return nil, fmt.Errorf("%w: the target's CHAP_C: %w", ErrAuth, err)
		}
		a.done = true
		answer := chapResponse(h.hash, byte(id), a.chap.Secret, challenge)
		reply := []string{"CHAP_N=" + a.chap.User, "CHAP_R=0x" + hex.EncodeToString(answer)}
		return append(reply, a.challenge(h.hash, byte(id))...), nil
	}
	return nil, fmt.Errorf("%w: the target wants the CHAP algorithm %q", ErrAuth, keys["CHAP_A"])
}

// challenge is ours to the target, when it has to prove itself. The identifier differs from the target's, so that it cannot have us
// answer our own.
func (a *authentication) challenge(algorithm func() hash.Hash, id byte) []string {
	if a.chap.TargetSecret == "" {
		return nil
	}
	random := make([]byte, challengeLength)
	_, _ = rand.Read(random) // never fails
	id++
	a.expected = chapResponse(algorithm, id, a.chap.TargetSecret, random)
	return []string{fmt.Sprintf("CHAP_I=%d", id), "CHAP_C=0x" + hex.EncodeToString(random)}
}

// accept checks the target's proof as the stage ends.
func (a *authentication) accept(keys map[string]string) error {
	if a.chap == nil || a.chap.TargetSecret == "" {
		return nil
	}
	got, err := parseBinary(keys["CHAP_R"])
	if err != nil || a.expected == nil || subtle.ConstantTimeCompare(got, a.expected) != 1 || keys["CHAP_N"] != a.chap.TargetUser {
		return fmt.Errorf("%w: the target did not prove itself", ErrAuth)
	}
	return nil
}

// chapResponse is the hash of identifier, secret and challenge (RFC 1994, section 4.1).
func chapResponse(algorithm func() hash.Hash, id byte, secret string, challenge []byte) []byte {
	h := algorithm()
	h.Write([]byte{id})
	h.Write([]byte(secret))
	h.Write(challenge)
	return h.Sum(nil)
}

// parseBinary reads a large binary value (RFC 7143, section 6.1): 0x and hexadecimal, or 0b and base64.
func parseBinary(value string) (data []byte, err error) {
	if len(value) > 2+2*maxChallenge {
		return nil, fmt.Errorf("%d characters", len(value))
	}
	if digits, ok := cutPrefixFold(value, "0x"); ok {
		return hex.DecodeString(digits)
	}
	if digits, ok := cutPrefixFold(value, "0b"); ok {
		return base64.StdEncoding.DecodeString(digits)
	}
	return nil, fmt.Errorf("neither 0x nor 0b in front")
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
