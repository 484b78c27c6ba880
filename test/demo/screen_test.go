//go:build lab

package demo

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// screen prints the story: numbered steps with their time, and tables.
type screen struct {
	began time.Time
	step  int
	steps int
}

func newScreen(steps int) *screen { return &screen{began: time.Now(), steps: steps} }

// Step opens the next chapter.
func (s *screen) Step(format string, args ...any) {
	s.step++
	title := fmt.Sprintf(format, args...)
	s.print("\n[%2d/%d] %-86s %6.1f s\n", s.step, s.steps, title, time.Since(s.began).Seconds())
}

// Say prints a line within a step.
func (s *screen) Say(format string, args ...any) { s.print("        "+format+"\n", args...) }

// Took says how long something took.
func (s *screen) Took(what string, d time.Duration) { s.Say("%-58s %7.2f s", what, d.Seconds()) }

// Table prints rows below a header, in columns as wide as they need.
func (s *screen) Table(header []string, rows [][]string) {
	width := make([]int, len(header))
	all := append([][]string{header}, rows...)
	for _, row := range all {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s  ", width[i], cell)
		}
		s.Say("  %s", strings.TrimRight(line.String(), " "))
	}
}

func (s *screen) print(format string, args ...any) { fmt.Fprintf(os.Stdout, format, args...) }

// bar draws a share of 0 to 1.
func bar(share float64) string {
	const width = 24
	n := int(share*width + 0.5)
	return strings.Repeat("#", n) + strings.Repeat(".", width-n)
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
