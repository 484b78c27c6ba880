// Package kill ends the node plugin with SIGKILL at each step of its calls, on a real kernel: scorecard row 13.
package kill
