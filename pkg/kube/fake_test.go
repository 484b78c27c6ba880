package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// server plays the API server: claims, nodes, and the events that it was given.
type server struct {
	t       *testing.T
	mu      sync.Mutex
	claims  map[string]*corev1.PersistentVolumeClaim // by namespace/name
	node    *corev1.Node
	events  []*corev1.Event
	refuse  map[string][]int // status codes of the next requests, by method and resource
	changed chan struct{}
}

func newServer(t *testing.T) (*server, *Client) {
	t.Helper()
	s := &server{t: t, claims: map[string]*corev1.PersistentVolumeClaim{}, refuse: map[string][]int{}, changed: make(chan struct{}, 1000)}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	client, err := newClient(&rest.Config{Host: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s, client
}

func (s *server) addClaim(namespace, name, uid, pv string) {
	s.claims[namespace+"/"+name] = &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{Kind: "PersistentVolumeClaim", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid), ResourceVersion: "7"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: pv},
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	resource := parts[0]
	if resource == "namespaces" {
		resource = parts[2]
	}
	key := r.Method + " " + resource
	if codes := s.refuse[key]; len(codes) > 0 {
		s.refuse[key] = codes[1:]
		fail(w, codes[0])
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	switch key {
	case "GET persistentvolumeclaims":
		s.answer(w, s.claims[parts[1]+"/"+parts[3]])
	case "GET nodes", "PATCH nodes":
		if len(body) > 0 {
			err = json.Unmarshal(body, s.node)
		}
		s.answer(w, s.node)
	case "POST events":
		var e corev1.Event
		err = json.Unmarshal(body, &e)
		s.events = append(s.events, &e)
		s.changed <- struct{}{}
		s.answer(w, &e)
	case "PATCH events":
		at := slices.IndexFunc(s.events, func(e *corev1.Event) bool { return e.Name == parts[3] })
		e := s.events[at]
		err = json.Unmarshal(body, e)
		s.changed <- struct{}{}
		s.answer(w, e)
	default:
		s.t.Errorf("unexpected request %s %s", r.Method, r.URL)
	}
	if err != nil {
		s.t.Error(err)
	}
}

func (s *server) answer(w http.ResponseWriter, object any) {
	switch o := object.(type) {
	case *corev1.PersistentVolumeClaim:
		if o == nil {
			fail(w, http.StatusNotFound)
			return
		}
	case *corev1.Event:
		o.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}
	}
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Error(err)
	}
}

func fail(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	reason := map[int]metav1.StatusReason{http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusForbidden: metav1.StatusReasonForbidden}[code]
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"no"}`, reason, code)
}
