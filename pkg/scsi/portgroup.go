package scsi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// REPORT TARGET PORT GROUPS (SPC-4, section 6.37).
const (
	opMaintenanceIn  = 0xa3
	reportPortGroups = 0x0a

	groupsHeader = 4
	groupTop     = 8 // before the ports
	maskState    = 0x0f
	preferredBit = 0x80
	// maxGroups is how much is read: some hundred groups' worth.
	maxGroups = 4096
	// askTries is how often a unit attention is passed over: each may be followed by another one.
	askTries = 5
)

// AccessState is what a target says of the way to a logical unit through one of its port groups.
type AccessState uint8

// The states.
const (
	Optimized     AccessState = 0x0
	NonOptimized  AccessState = 0x1
	Standby       AccessState = 0x2
	Unavailable   AccessState = 0x3
	LBADependent  AccessState = 0x4
	Offline       AccessState = 0xe
	Transitioning AccessState = 0xf
)

// Access is the state of a port group, and whether the target would like it to be used.
type Access struct {
	State     AccessState
	Preferred bool
}

// Priority is how much a path is worth, as multipathd counts it (libmultipath, prioritizers/alua.c). More is better.
func (a Access) Priority() int {
	value := 0
	switch a.State {
	case Optimized:
		return 50 // the preference says nothing then
	case NonOptimized:
		value = 10
	case LBADependent:
		value = 5
	case Standby:
		value = 1
	case Unavailable, Offline, Transitioning:
	}
	if a.Preferred {
		value += 80
	}
	return value
}

// PortGroup asks for the state of a disk's target port group. It waits no longer than ctx.
func PortGroup(ctx context.Context, d Device, group int) (Access, error) {
	type reply struct {
		access Access
		err    error
	}
	answer := make(chan reply, 1)
	go func() {
		access, err := askPortGroup(d, group)
		answer <- reply{access, err}
	}()
	select {
	case r := <-answer:
		return r.access, r.err
	case <-ctx.Done():
		return Access{}, ctx.Err()
	}
}

func askPortGroup(d Device, group int) (Access, error) {
	f, err := d.open()
	if err != nil {
		return Access{}, err
	}
	defer func() { _ = f.Close() }()
	data := make([]byte, maxGroups)
	if err := readPortGroups(f, data); err != nil {
		return Access{}, fmt.Errorf("REPORT TARGET PORT GROUPS of %s: %w", d.Path, err)
	}
	access, ok := findGroup(data, group)
	if !ok {
		return Access{}, fmt.Errorf("REPORT TARGET PORT GROUPS of %s: nothing of group %d", d.Path, group)
	}
	return access, nil
}

func readPortGroups(f *os.File, data []byte) error {
	cmd := make([]byte, 12)
	cmd[0], cmd[1] = opMaintenanceIn, reportPortGroups
	binary.BigEndian.PutUint32(cmd[6:], maxGroups)
	for range askTries {
		answer, status, err := send(f, cmd, data)
		if err != nil || status == statusGood {
			return err
		}
		if s, ok := parseSense(answer); !ok || s.key != keyUnitAttention {
			return fmt.Errorf("SCSI status 0x%02x, sense %02x/%02x/%02x", status, s.key, s.code, s.qualifier)
		}
	}
	return errors.New("unit attentions only")
}

// findGroup looks a group up in the parameter data.
func findGroup(data []byte, group int) (Access, bool) {
	if len(data) < groupsHeader {
		return Access{}, false
	}
	length := int(min(binary.BigEndian.Uint32(data), maxGroups))
	rest := data[groupsHeader:min(groupsHeader+length, len(data))]
	for len(rest) >= groupTop {
		if int(binary.BigEndian.Uint16(rest[2:])) == group {
			return Access{State: AccessState(rest[0] & maskState), Preferred: rest[0]&preferredBit != 0}, true
		}
		rest = rest[min(groupTop+4*int(rest[7]), len(rest)):]
	}
	return Access{}, false
}
