package main

import (
	"context"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// nodePriority is the node plugin's nice value. iscsid and multipathd raise theirs, too: the rules that udev runs for
// each new disk, and whatever else keeps the node busy, must not stand in the way of paths. What it starts inherits it.
const nodePriority = -10

// raisePriority sets the nice value of all threads of this process; those to come inherit it. Without the right to do so
// it is only slower.
func raisePriority(ctx context.Context) {
	tasks, err := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if tid, convErr := strconv.Atoi(task.Name()); convErr == nil {
			err = errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, tid, nodePriority))
		}
	}
	if err != nil {
		klog.FromContext(ctx).Info("The priority stays as it is", "reason", err.Error())
	}
}
