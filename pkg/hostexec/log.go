package hostexec

import (
	"context"
	"time"

	"k8s.io/klog/v2"
)

// logged writes one line per program at verbosity 5.
type logged struct{ next Runner }

// Logged wraps a Runner so that each program is logged at V(5) with its arguments, duration and outcome. Arguments
// never carry secrets; stdin and stdout may, and are not logged.
func Logged(next Runner) Runner { return logged{next} }

// Run implements Runner.
func (l logged) Run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	log := klog.FromContext(ctx).V(5)
	if !log.Enabled() {
		return l.next.Run(ctx, stdin, name, args...)
	}
	start := time.Now()
	stdout, err := l.next.Run(ctx, stdin, name, args...)
	log.Info("Program ended", "program", name, "args", args, "duration", time.Since(start), "failed", err != nil)
	return stdout, err
}
