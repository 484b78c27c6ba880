package lio

import (
	"fmt"
	"strings"
)

// Volume is a block device that becomes a backstore.
type Volume struct {
	// Name is unique among our backstores: [a-z0-9.:-].
	Name string
	// Device is the path of the block device. It is resolved once: the kernel keeps it open.
	Device string
	// Serial is 25 hexadecimal digits.
	Serial string
}

const serialLen = 25

func backstore(name string) string { return hba + "/" + name }

// HasVolume says whether the volume is a backstore that serves.
func (t *Target) HasVolume(name string) (bool, error) {
	enabled, err := t.tree.Read(backstore(name) + "/enable")
	if err != nil {
		there, existsErr := t.tree.Exists(backstore(name))
		if existsErr == nil && !there {
			return false, nil
		}
		return false, fmt.Errorf("backstore %s: %w", name, err)
	}
	return enabled == "1", nil
}

// AddVolume makes the volume a backstore. The device is opened exclusively from there on.
func (t *Target) AddVolume(v Volume) error {
	ready, err := t.HasVolume(v.Name)
	if err != nil {
		return err
	}
	if !ready {
		if err := t.build(v); err != nil {
			return fmt.Errorf("backstore %s: %w", v.Name, err)
		}
	}
	return t.checkSerial(v)
}

// build starts afresh: what a crash has left of it may have any part of its settings.
func (t *Target) build(v Volume) error {
	if len(v.Serial) != serialLen {
		return fmt.Errorf("serial %q has not %d digits", v.Serial, serialLen)
	}
	dir := backstore(v.Name)
	if err := t.tree.Rmdir(dir); err != nil {
		return err
	}
	if err := t.tree.Mkdir(dir); err != nil {
		return err
	}
	for _, a := range []struct{ name, value string }{
		{"control", "udev_path=" + v.Device},
		{"wwn/vendor_id", Vendor},
		{"wwn/product_id", Product},
		// The kernel makes the NAA identifier of the first 25 hexadecimal digits.
		{"wwn/vpd_unit_serial", v.Serial},
	} {
		if err := t.tree.Write(dir+"/"+a.name, a.value); err != nil {
			return err
		}
	}
	if err := t.tree.Write(dir+"/enable", "1"); err != nil {
		return fmt.Errorf("open %s: %w", v.Device, err)
	}
	// Discard is known of a device that is open. A pool that does not support it is served without.
	if err := t.tree.Write(dir+"/attrib/emulate_tpu", "1"); err != nil && !isUnsupported(err) {
		return err
	}
	return nil
}

// checkSerial refuses to serve a volume under another's identity: hosts would take it for that one.
func (t *Target) checkSerial(v Volume) error {
	have, err := t.tree.Read(backstore(v.Name) + "/wwn/vpd_unit_serial")
	if err != nil {
		return fmt.Errorf("backstore %s: %w", v.Name, err)
	}
	// "T10 VPD Unit Serial Number: 1234..."
	if _, serial, _ := strings.Cut(have, ": "); serial != v.Serial {
		return fmt.Errorf("backstore %s has the serial %q, the volume %q", v.Name, serial, v.Serial)
	}
	return nil
}

// RemoveVolume closes the device. It must not have a LUN any more.
func (t *Target) RemoveVolume(name string) error {
	if err := t.tree.Rmdir(backstore(name)); err != nil {
		return fmt.Errorf("remove backstore %s: %w", name, err)
	}
	return nil
}
