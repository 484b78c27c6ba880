package sysfs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sectorSize is the unit of the size attribute, whatever the logical block size is.
const sectorSize = 512

// DiskRunning is the state of a disk that accepts commands.
const DiskRunning = "running"

// Disk is one SCSI disk: one path to a logical unit.
type Disk struct {
	// Name is the kernel's, such as "sdb".
	Name string
	HCTL HCTL
	// WWID is the designator of VPD page 0x83 that the kernel chose, such as "naa.6001405...". It was read when the
	// disk was found, so it is the identity of what is behind the disk only until its LUN is mapped anew. Empty
	// when the logical unit has none.
	WWID string
	// SizeBytes is what the path last reported.
	SizeBytes int64
	// Major and Minor are the device number.
	Major, Minor uint32
	// State is "running", "blocked" (the session is lost, within its recovery timeout), "transport-offline",
	// "offline", "deleted", ...
	State string
	// Vendor and Model are from INQUIRY, trimmed.
	Vendor, Model string
	ReadOnly      bool
}

// Dev is the device number as dm tables write it.
func (d Disk) Dev() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Disk reads one by its name: ErrGone when there is none. A disk without its SCSI device is gone, too.
func (f FS) Disk(name string) (Disk, error) {
	address, err := f.diskAddress(name)
	if err != nil {
		return Disk{}, err
	}
	block := reader{fs: f, dir: filepath.Join("block", name)}
	device := reader{fs: f, dir: filepath.Join("block", name, "device")}
	d := Disk{
		Name: name, HCTL: address,
		WWID:      device.optional("wwid"),
		SizeBytes: block.number("size") * sectorSize,
		State:     device.text("state"),
		Vendor:    strings.TrimSpace(device.optional("vendor")), Model: strings.TrimSpace(device.optional("model")),
		ReadOnly: block.optional("ro") == "1",
	}
	d.Major, d.Minor, err = parseDev(block.text("dev"))
	return d, errors.Join(block.err, device.err, err)
}

// diskAddress is the name of the directory that block/sdX/device points to.
func (f FS) diskAddress(name string) (HCTL, error) {
	path := f.path("block", name, "device")
	device, err := os.Readlink(path)
	if err != nil {
		return HCTL{}, fail("resolve", path, err)
	}
	address, err := ParseHCTL(filepath.Base(device))
	return address, fail("resolve", path, err)
}

// parseDev reads "8:16". The empty string is of a reader that failed before.
func parseDev(s string) (major, minor uint32, err error) {
	if s == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(s, ":")
	x, errA := strconv.ParseUint(a, 10, 32)
	y, errB := strconv.ParseUint(b, 10, 32)
	if !ok || errA != nil || errB != nil {
		return 0, 0, fmt.Errorf("%w: %q is no device number", ErrFormat, s)
	}
	return uint32(x), uint32(y), nil
}

// SessionLUN gives the disk of logical unit lun (as the target counts) on a session: ErrGone when there is none, or
// none yet.
func (f FS) SessionLUN(session, lun int) (Disk, error) {
	devices, err := f.sessionDevices(session)
	if err != nil {
		return Disk{}, err
	}
	for _, want := range KernelLUNs(lun) {
		for _, device := range devices {
			if device.address.LUN == want {
				return f.deviceDisk(device)
			}
		}
	}
	return Disk{}, &Error{
		Op: "find", Path: fmt.Sprintf("class/iscsi_session/session%d", session),
		Err: fmt.Errorf("LUN %d: %w", lun, ErrGone),
	}
}

// SessionDisks gives all disks of a session by LUN. Logical units that are no disks, or not yet, are left out.
func (f FS) SessionDisks(session int) ([]Disk, error) {
	devices, err := f.sessionDevices(session)
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, device := range devices {
		d, err := f.deviceDisk(device)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		disks = append(disks, d)
	}
	slices.SortFunc(disks, func(a, b Disk) int { return cmp.Compare(a.HCTL.LUN, b.HCTL.LUN) })
	return disks, nil
}

// scsiDevice is a logical unit of a session, and its directory relative to the root.
type scsiDevice struct {
	address HCTL
	dir     string
}

// sessionDevices walks session1/target2:0:0/2:0:0:1.
func (f FS) sessionDevices(session int) ([]scsiDevice, error) {
	base := fmt.Sprintf("class/iscsi_session/session%d/device", session)
	targets, err := f.list(base)
	if err != nil {
		return nil, err
	}
	var devices []scsiDevice
	for _, target := range targets {
		if !strings.HasPrefix(target, "target") {
			continue
		}
		units, err := f.list(base, target)
		if err != nil {
			return nil, err
		}
		for _, unit := range units {
			if address, err := ParseHCTL(unit); err == nil {
				devices = append(devices, scsiDevice{address, filepath.Join(base, target, unit)})
			}
		}
	}
	return devices, nil
}

// deviceDisk finds the block device of a SCSI device.
func (f FS) deviceDisk(device scsiDevice) (Disk, error) {
	names, err := f.list(device.dir, "block")
	if err != nil {
		return Disk{}, err
	}
	if len(names) == 0 {
		return Disk{}, &Error{Op: "find", Path: f.path(device.dir, "block"), Err: ErrGone}
	}
	return f.Disk(names[0])
}

// DisksByWWID gives the SCSI disks of this node that report a WWID, by name.
func (f FS) DisksByWWID(wwid string) ([]Disk, error) {
	return f.disks(func(got string) bool { return got == wwid })
}

// Disks gives all SCSI disks of this node that report a WWID, by name.
func (f FS) Disks() ([]Disk, error) {
	return f.disks(func(wwid string) bool { return wwid != "" })
}

func (f FS) disks(wanted func(wwid string) bool) ([]Disk, error) {
	names, err := f.list("class", "scsi_disk")
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, name := range names {
		dir := filepath.Join("class", "scsi_disk", name, "device")
		if got, err := f.read(dir, "wwid"); err != nil || !wanted(got) {
			continue
		}
		d, err := f.deviceDisk(scsiDevice{dir: dir})
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		disks = append(disks, d)
	}
	slices.SortFunc(disks, func(a, b Disk) int { return strings.Compare(a.Name, b.Name) })
	return disks, nil
}

// RescanDisk makes the kernel read capacity, VPD pages and WWID again. It waits for the disk's answer; on a blocked
// path as long as the session's recovery timeout.
func (f FS) RescanDisk(name string) error { return f.write("1", "block", name, "device", "rescan") }

// DeleteDisk removes a path from the node; success when it is gone already. It flushes the disk's write cache, which
// takes as long as commands on the path take.
func (f FS) DeleteDisk(name string) error {
	err := f.write("1", "block", name, "device", "delete")
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// ScanLUN makes the kernel look for one logical unit on a SCSI host. It returns when the unit was probed; its disk may
// appear a moment later. A unit that is there already is left as it is: see RescanDisk.
func (f FS) ScanLUN(host, lun int) error {
	for _, n := range KernelLUNs(lun) {
		// "channel target lun"; an iscsi_tcp host has one of each but the last.
		if err := f.write(fmt.Sprintf("0 0 %d", n), "class", "scsi_host", "host"+strconv.Itoa(host), "scan"); err != nil {
			return err
		}
		if f.exists("class", "scsi_device", HCTL{Host: host, LUN: n}.String()) {
			return nil
		}
	}
	return nil
}
