package pokes

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWait(t *testing.T) {
	for name, tt := range map[string]struct {
		first time.Duration // then every half second
		count int
		want  time.Duration
	}{
		"nothing happens":      {0, 0, 30 * time.Second},
		"one thing":            {10 * time.Second, 1, 11 * time.Second},
		"a burst":              {10 * time.Second, 5, 13 * time.Second},
		"it never gets quiet":  {10 * time.Second, 100, 15 * time.Second},
		"in time for the look": {29 * time.Second, 1, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, begin := New(time.Second), time.Now()
				for i := range tt.count {
					time.AfterFunc(tt.first+time.Duration(i)*500*time.Millisecond, p.Poke)
				}
				poked := p.Wait(t.Context(), 30*time.Second)
				if took := time.Since(begin); took != tt.want || poked != (tt.count > 0) {
					t.Errorf("waited %v, poked: %t", took, poked)
				}
			})
		})
	}
}

func TestPokesBeforeTheWaitCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, begin := New(time.Second), time.Now()
		for range 5 {
			p.Poke()
		}
		if !p.Wait(t.Context(), time.Minute) || p.Wait(t.Context(), time.Minute) || time.Since(begin) != 61*time.Second {
			t.Errorf("waited %v", time.Since(begin))
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, begin := New(time.Second), time.Now()
		for _, poke := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if poke {
				p.Poke()
			}
			if p.Wait(ctx, time.Minute) != poke {
				t.Error("want", poke)
			}
		}
		if time.Since(begin) != 2*time.Millisecond {
			t.Errorf("waited %v", time.Since(begin))
		}
	})
}
