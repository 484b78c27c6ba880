// Package guest is what runs inside a lab guest: its first process, which turns a bare kernel over the host's root file
// system into a small Debian, and the agent that runs programs on behalf of the outside.
package guest

import (
	"encoding/json"
	"fmt"
	"os"
)

// ConfigEnv names, on the kernel's command line and so in the first process's environment, the file with the Config.
const ConfigEnv = "LAB_CONFIG"

// Config is what the outside tells a guest.
type Config struct {
	Hostname string   `json:"hostname"`
	Channel  string   `json:"channel"` // of the agent: path of a tty, or name of a virtio port
	Modules  []string `json:"modules"`
	Mounts   []Mount  `json:"mounts"` // from the outside, read-write
	NICs     []NIC    `json:"nics"`
	// DiskPrefix and a letter is the name of a disk. State: the first one holds what survives a reboot.
	DiskPrefix string `json:"diskPrefix"`
	State      bool   `json:"state"`
	Initrd     bool   `json:"initrd"` // the root file system comes by 9p, after the modules in /modules
}

// Mount makes a directory of the outside writable at the same path inside.
type Mount struct {
	Type string `json:"type"` // hostfs or 9p
	Tag  string `json:"tag"`  // 9p mount tag
	Path string `json:"path"`
}

// NIC is one network interface towards the outside.
type NIC struct {
	Kernel string `json:"kernel"` // the kernel's name: vec0, eth0
	Name   string `json:"name"`   // ours: mgmt, san0
	Addr   string `json:"addr"`   // CIDR
	Table  int    `json:"table"`  // of its own for what is sent from Addr; 0: none
}

func readConfig(path string) (Config, error) {
	var c Config
	data, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read guest config: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("parse %s: %w", path, err)
	}
	return c, nil
}
