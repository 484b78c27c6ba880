package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// watched plays an API server of which watches of one object are asked.
type watched struct {
	t          *testing.T
	path, name string
	get        map[string]string // what is there to get, by path; "" is not there
	scripts    chan []string     // what the next watches give, line by line; "end" ends one, else it goes on without a word
	begun      chan string       // a watch began: what it accepts
	refuse     chan int          // the next watches' status codes
}

func newWatched(t *testing.T, path, name string) (*watched, *Client) {
	t.Helper()
	s := &watched{
		t: t, path: path, name: name,
		scripts: make(chan []string, 10), begun: make(chan string, 1000), refuse: make(chan int, 10),
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	client, err := newClient(&rest.Config{Host: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s, client
}

func (s *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if object, ok := s.get[r.URL.Path]; ok {
		if object == "" {
			fail(w, http.StatusNotFound)
			return
		}
		fmt.Fprint(w, object)
		return
	}
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != s.path || q.Get("watch") != "true" || q.Get("fieldSelector") != "metadata.name="+s.name {
		s.t.Errorf("unexpected request %s %s", r.Method, r.URL)
	}
	s.begun <- r.Header.Get("Accept")
	select {
	case code := <-s.refuse:
		fail(w, code)
		return
	default:
	}
	_ = http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
	case script := <-s.scripts:
		for _, line := range script {
			if line == "end" {
				return
			}
			fmt.Fprintln(w, line)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}
}

func (s *watched) want(told <-chan string, want ...string) {
	s.t.Helper()
	for _, w := range want {
		select {
		case got := <-told:
			if got != w {
				s.t.Errorf("told %q, want %q", got, w)
			}
		case <-time.After(20 * time.Second):
			s.t.Fatalf("not told %q", w)
		}
	}
}

// expired is a watch's last word.
const expired = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`
