package backendtest

import (
	"cmp"
	"slices"

	"github.com/portbind/portbind/pkg/backend"
)

// most bounds how many pages a list may have, should its tokens go round in circles.
const most = 10_000

func testListVolumes(s *suite) {
	mine := map[backend.Key]bool{}
	for range 5 {
		mine[s.create("list").Key] = true
	}
	node := s.initiator()
	published := s.create("list").Key
	mine[published] = true
	s.mustPublish(published, node, false)

	pages := func(limit int) []backend.Key {
		return collect(s, limit, func(limit int, token string) ([]backend.Key, string, error) {
			volumes, next, err := s.Backend.ListVolumes(s.ctx(), limit, token)
			keys := make([]backend.Key, len(volumes))
			for i, v := range volumes {
				keys[i] = v.Key
				if v.Key == published && !slices.Equal(v.Initiators, []string{node}) {
					s.Errorf("listed with initiators %q, want %q", v.Initiators, node)
				}
			}
			return keys, next, err
		})
	}
	for _, limit := range []int{0, 1, 2, 1000} {
		wantOnce(s, pages(limit), mine)
	}
	for _, token := range []string{"invalid-token", "../../x", "\x00"} {
		_, _, err := s.Backend.ListVolumes(s.ctx(), 1, token)
		s.want(err, backend.ErrPageToken, "ListVolumes from an invalid token")
	}
}

func testListSnapshots(s *suite) {
	v, w := s.create("list"), s.create("list")
	mine, ofV := map[backend.Key]bool{}, map[backend.Key]bool{}
	for range 3 {
		key := s.mustSnapshot(v.Key).Key
		mine[key], ofV[key] = true, true
		mine[s.mustSnapshot(w.Key).Key] = true
	}
	pages := func(source *backend.Key, limit int) []backend.Key {
		return collect(s, limit, func(limit int, token string) ([]backend.Key, string, error) {
			snapshots, next, err := s.Backend.ListSnapshots(s.ctx(), source, limit, token)
			keys := make([]backend.Key, len(snapshots))
			for i, snap := range snapshots {
				keys[i] = snap.Key
			}
			return keys, next, err
		})
	}
	for _, limit := range []int{0, 1, 2, 1000} {
		wantOnce(s, pages(nil, limit), mine)
		of := pages(&v.Key, limit)
		wantOnce(s, of, ofV)
		if len(of) != len(ofV) {
			s.Errorf("%d snapshots of one volume, want %d", len(of), len(ofV))
		}
	}
	none := s.key("none")
	if of := pages(&none, 0); len(of) != 0 {
		s.Errorf("snapshots of nothing: %v", of)
	}
	_, _, err := s.Backend.ListSnapshots(s.ctx(), nil, 1, "invalid-token")
	s.want(err, backend.ErrPageToken, "ListSnapshots from an invalid token")
}

// collect follows the tokens to the end; pages must keep to the limit.
func collect(s *suite, limit int, list func(limit int, token string) ([]backend.Key, string, error)) []backend.Key {
	s.Helper()
	var all []backend.Key
	token := ""
	for range most {
		page, next, err := list(limit, token)
		if err != nil {
			s.Fatalf("list from %q: %v", token, err)
		}
		if limit > 0 && len(page) > limit {
			s.Fatalf("%d entries in a page of %d", len(page), limit)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		token = next
	}
	s.Fatalf("no end after %d pages", most)
	return nil
}

// wantOnce checks that each of mine was listed once, and all in order.
func wantOnce(s *suite, all []backend.Key, mine map[backend.Key]bool) {
	s.Helper()
	seen := map[backend.Key]int{}
	for _, k := range all {
		seen[k]++
	}
	for k := range mine {
		if seen[k] != 1 {
			s.Errorf("%s was listed %d times", k.Name, seen[k])
		}
	}
	sorted := slices.IsSortedFunc(all, func(a, b backend.Key) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Name, b.Name))
	})
	if !sorted {
		s.Errorf("not sorted by pool and name: %v", all)
	}
}
