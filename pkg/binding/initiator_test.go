package binding

import (
	"errors"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

func TestInitiator(t *testing.T) {
	good := map[string]string{
		"worker-1":             "iqn.2026-11.io.portbind:worker-1",
		"worker-1.example.com": "iqn.2026-11.io.portbind:worker-1.example.com",
	}
	for node, want := range good {
		if got, err := Initiator(node); err != nil || got != want {
			t.Errorf("%q: got %q, %v", node, got, err)
		}
	}
	if _, err := Initiator(""); !errors.Is(err, ErrInitiator) {
		t.Errorf("empty: got %v", err)
	}
}

// Two nodes must never share a name: the same initiator on two machines corrupts data.
func TestInitiatorsDiffer(t *testing.T) {
	long := strings.Repeat("n", 253)
	seen := map[string]string{}
	for _, node := range []string{"a", "A", "a_", "a-", "a/", "ä", long, long[:252], strings.ToUpper(long), "-", ".", "a:b", "a b"} {
		got, err := Initiator(node)
		if err != nil {
			t.Errorf("%.20q: %v", node, err)
			continue
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%.20q and %.20q share %s", node, other, got)
		}
		seen[got] = node
		if again, err := Initiator(node); err != nil || again != got {
			t.Errorf("%.20q: got %q, then %q, %v", node, got, again, err)
		}
	}
}

func TestParseHostInitiator(t *testing.T) {
	text := "## DO NOT EDIT\n# InitiatorName=iqn.1993-08.org.debian:01:comment\nInitiatorName=iqn.1993-08.org.debian:01:ABC\n" +
		"InitiatorName=iqn.1993-08.org.debian:01:second\n"
	if got, err := ParseHostInitiator([]byte(text)); err != nil || got != "iqn.1993-08.org.debian:01:abc" {
		t.Errorf("got %q, %v", got, err)
	}
	bad := []string{
		"", "GenerateName=yes\n", "InitiatorName=\n", "InitiatorName=../x\n", " InitiatorName=iqn.1993-08.org.debian:x\n",
	}
	for _, text := range bad {
		if got, err := ParseHostInitiator([]byte(text)); !errors.Is(err, ErrInitiator) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func FuzzInitiator(f *testing.F) {
	f.Add("worker-1")
	f.Add("Worker 1\n../")
	f.Fuzz(func(t *testing.T, node string) {
		got, err := Initiator(node)
		if err != nil {
			if node != "" {
				t.Errorf("%q: %v", node, err)
			}
			return
		}
		if canonical, err := iscsiname.Parse(got); err != nil || canonical != got {
			t.Errorf("%q: got %q, %v", node, got, err)
		}
	})
}

func FuzzParseHostInitiator(f *testing.F) {
	f.Add([]byte("InitiatorName=iqn.1993-08.org.debian:01:abc\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseHostInitiator(data)
		if err != nil {
			return
		}
		if canonical, err := iscsiname.Parse(got); err != nil || canonical != got {
			t.Errorf("%q: got %q, %v", data, got, err)
		}
	})
}
