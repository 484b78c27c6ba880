package lvmthin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

var errBroken = errors.New("broken")

// crowd is a group that is busy, and what was run when it no longer was.
type crowd struct {
	group    gate
	together *together
	ran      []string
}

func newCrowd() *crowd {
	c := &crowd{group: make(gate, 1)}
	c.together = &together{run: func(_ context.Context, names []string) error {
		slices.Sort(names)
		c.ran = append(c.ran, strings.Join(names, " "))
		if slices.Contains(names, "broken") {
			return errBroken
		}
		return nil
	}}
	c.group <- struct{}{}
	return c
}

func TestTogether(t *testing.T) {
	for name, test := range map[string]struct {
		names []string
		ran   []string
	}{
		"one":               {[]string{"a"}, []string{"a"}},
		"all in one":        {[]string{"a", "b", "c"}, []string{"a b c"}},
		"an error of one's": {[]string{"a", "broken"}, []string{"a broken", "a", "broken"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd()
				var all sync.WaitGroup
				for _, name := range test.names {
					all.Go(func() {
						err := c.together.do(t.Context(), c.group, name)
						if errors.Is(err, errBroken) != (name == "broken") {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
				synctest.Wait()
				<-c.group
				all.Wait()
				slices.Sort(c.ran[1:])
				if diff := cmp.Diff(test.ran, c.ran); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestTogetherGivenUp: who does not wait any longer is not served, and keeps nobody from being.
func TestTogetherGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		ctx, cancel := context.WithCancel(t.Context())
		given := make(chan error)
		go func() { given <- c.together.do(ctx, c.group, "given up") }()
		served := make(chan error)
		go func() { served <- c.together.do(t.Context(), c.group, "a") }()
		synctest.Wait()
		cancel()
		if err := <-given; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-c.group
		if err := <-served; err != nil || !slices.Equal(c.ran, []string{"a"}) {
			t.Errorf("%v, ran %v", err, c.ran)
		}
	})
}
