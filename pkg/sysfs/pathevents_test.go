package sysfs

import (
	"context"
	"testing"
	"time"
)

func TestPathChanged(t *testing.T) {
	const head = "change@/devices/virtual/block/dm-0\x00ACTION=change\x00DEVPATH=/devices/virtual/block/dm-0\x00SUBSYSTEM=block\x00"
	for message, want := range map[string]bool{
		head + "DM_TARGET=multipath\x00DM_ACTION=PATH_FAILED\x00DM_SEQNUM=1\x00DM_PATH=8:16\x00DM_NR_VALID_PATHS=3\x00":     true,
		head + "DM_TARGET=multipath\x00DM_ACTION=PATH_REINSTATED\x00DM_SEQNUM=3\x00DM_PATH=8:16\x00DM_NR_VALID_PATHS=3\x00": true,
		head + "DM_COOKIE=4194304\x00MAJOR=253\x00MINOR=0\x00DEVNAME=dm-0\x00DEVTYPE=disk\x00":                              false,
		"change@/devices/x/block/sda\x00ACTION=change\x00SUBSYSTEM=block\x00DEVNAME=sda\x00":                                false,
		"libudev\x00": false,
		"":            false,
	} {
		if got := pathChanged([]byte(message)); got != want {
			t.Errorf("%q: got %t", message, got)
		}
	}
}

func TestWatchPathsEndsWithItsContext(t *testing.T) {
	for _, patience := range []time.Duration{-1, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := WatchPaths(ctx, func() {}); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
