package fsmount

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/hostexec"
)

// Prepare is the request of FS.Prepare.
type Prepare struct {
	Device string
	FSType string
	// NeverFormat makes a device without a file system an error: a volume that is only read.
	NeverFormat bool
	// Began is the UUID that an earlier call gave to Begin when it was not followed by success, else nil.
	Began *UUID
	// Begin is called when the device was proven blank and before anything is written to it; it must store the
	// UUID durably. What an interrupted mkfs leaves is no longer blank, and only this says whose it is.
	Begin func(UUID) error
}

// Prepare makes sure that the device has a file system of that type and returns its superblock. It formats only
// what is provably blank, or what this node itself, by Began, began to format and nobody else has completed.
func (f *FS) Prepare(ctx context.Context, p Prepare) (Superblock, error) {
	if !Supported(p.FSType) {
		return Superblock{}, fmt.Errorf("%w: %q; ext4, xfs and btrfs are", ErrUnsupported, p.FSType)
	}
	found, err := f.Recognize(p.Device)
	if err != nil {
		return Superblock{}, err
	}
	switch {
	case len(found) > 0:
		return expect(found, p)
	case p.NeverFormat:
		return Superblock{}, fmt.Errorf("%w: %s has no %s, and is not formatted since it is only read", ErrOtherFS, p.Device, p.FSType)
	default:
		return f.format(ctx, p)
	}
}

// Recognize reads a device's superblocks.
func (f *FS) Recognize(path string) ([]Superblock, error) {
	file, size, err := openDevice(path, os.O_RDONLY)
	if err != nil {
		return nil, opError("read", path, err)
	}
	defer func() { _ = file.Close() }()
	head := make([]byte, min(headSize, size))
	if _, err := (directFile{file}).ReadAt(head, 0); err != nil {
		return nil, opError("read", path, err)
	}
	return Recognize(head), nil
}

// expect picks the superblock when there is one, of the right type.
func expect(found []Superblock, p Prepare) (Superblock, error) {
	if len(found) > 1 {
		return Superblock{}, fmt.Errorf("%w: %s has superblocks of %s and %s at once", ErrNotBlank, p.Device,
			found[0].FSType, found[1].FSType)
	}
	if found[0].FSType != p.FSType {
		return Superblock{}, fmt.Errorf("%w: %s has %s, asked for is %s", ErrOtherFS, p.Device, found[0].FSType, p.FSType)
	}
	return found[0], nil
}

// format formats a device that has no complete superblock.
func (f *FS) format(ctx context.Context, p Prepare) (Superblock, error) {
	resume, err := f.mayFormat(ctx, p)
	if err != nil {
		return Superblock{}, err
	}
	uuid := p.Began
	if uuid == nil {
		fresh := randomUUID()
		if err := p.Begin(fresh); err != nil {
			return Superblock{}, opError("record formatting of", p.Device, err)
		}
		uuid = &fresh
	}
	if _, err := f.Run.Run(ctx, nil, "mkfs."+p.FSType, mkfsArgs(p.FSType, p.Device, *uuid, resume)...); err != nil {
		return Superblock{}, opError("format", p.Device, err)
	}
	return f.formatted(p, *uuid)
}

// formatted reads back what mkfs has made.
func (f *FS) formatted(p Prepare, uuid UUID) (Superblock, error) {
	found, err := f.Recognize(p.Device)
	if err != nil {
		return Superblock{}, err
	}
	if len(found) != 1 || found[0].FSType != p.FSType || found[0].UUID != uuid {
		return Superblock{}, fmt.Errorf("%w: %s after mkfs.%s: expected one superblock with UUID %s, found %v", ErrDamaged,
			p.Device, p.FSType, uuid, found)
	}
	return found[0], nil
}

// mayFormat returns nil only for a device that is provably blank, or that holds nothing but our own interrupted mkfs
// (resume). The device is opened exclusively: one that is mounted or in use by another program is refused.
func (f *FS) mayFormat(ctx context.Context, p Prepare) (resume bool, err error) {
	file, size, err := openDevice(p.Device, os.O_RDONLY|unix.O_EXCL)
	if err != nil {
		return false, opError("probe", p.Device, err)
	}
	defer func() { err = errors.Join(err, release(ctx, file)) }()
	zero, err := blank(directFile{file}, size)
	if err != nil {
		return false, opError("probe", p.Device, err)
	}
	if zero {
		return false, f.secondOpinion(ctx, p.Device)
	}
	if p.Began == nil {
		return false, fmt.Errorf("%w: %s has no file system but data (%s); nothing was written to it", ErrNotBlank,
			p.Device, f.describe(ctx, p.Device))
	}
	return true, f.mayResume(directFile{file}, size, p)
}

// mayResume allows to format over an interrupted mkfs: the program must be gone, and no copy of a superblock may
// belong to anybody else, who formatted the volume on another node since.
func (f *FS) mayResume(dev directFile, size int64, p Prepare) error {
	if pid, err := opener(dev.File); err != nil || pid != 0 {
		return errors.Join(err, fmt.Errorf("%w: %s is open in process %d, perhaps an earlier mkfs", ErrInUse, p.Device, pid))
	}
	for _, at := range superblockCopies(size) {
		sb, ok, err := superblockCopy(dev, at, size)
		if err != nil {
			return opError("probe", p.Device, err)
		}
		if ok && sb.UUID != *p.Began {
			return fmt.Errorf("%w: %s has a copy of the superblock of another %s (%s); its first superblock is damaged",
				ErrNotBlank, p.Device, sb.FSType, sb.UUID)
		}
	}
	return nil
}

// superblockCopy reads a superblock at a place where copies are kept.
func superblockCopy(dev directFile, at, size int64) (Superblock, bool, error) {
	buf := make([]byte, sample)
	if at+sample > size {
		return Superblock{}, false, nil
	}
	if _, err := dev.ReadAt(buf, at); err != nil {
		return Superblock{}, false, err
	}
	// With blocks of 1 KiB the groups begin at block 1.
	for _, parse := range []func() (Superblock, bool){
		func() (Superblock, bool) { return parseExtAt(buf[:extLen]) },
		func() (Superblock, bool) { return parseExtAt(buf[extOffset : extOffset+extLen]) },
		func() (Superblock, bool) { return parseXFS(buf) },
		func() (Superblock, bool) { return parseBtrfsAt(buf[:btrfsSuperLen]) },
	} {
		if sb, ok := parse(); ok {
			return sb, true, nil
		}
	}
	return Superblock{}, false, nil
}

// secondOpinion asks libblkid, which knows hundreds of formats. wipefs and not blkid: the exit status of blkid -p is
// 2 both for "nothing found" and for "could not look".
func (f *FS) secondOpinion(ctx context.Context, device string) error {
	signatures, err := f.signatures(ctx, device)
	if err != nil {
		return opError("probe", device, err)
	}
	if len(signatures) > 0 {
		return fmt.Errorf("%w: %s has signatures: %s", ErrNotBlank, device, strings.Join(signatures, ", "))
	}
	return nil
}

// signatures lists what wipefs finds.
func (f *FS) signatures(ctx context.Context, device string) ([]string, error) {
	out, err := f.Run.Run(ctx, nil, "wipefs", "--no-act", "--noheadings", "--output", "TYPE,OFFSET", device)
	if err != nil {
		return nil, err
	}
	var signatures []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			signatures = append(signatures, strings.Join(fields, " at "))
		}
	}
	return signatures, nil
}

// describe says in a few words what is on a device, for an error's text.
func (f *FS) describe(ctx context.Context, device string) string {
	signatures, err := f.signatures(ctx, device)
	if err != nil || len(signatures) == 0 {
		return "of no known kind"
	}
	return strings.Join(signatures, ", ")
}

// mkfsArgs: the device is blank, so there is nothing to discard, and mkfs need not wait for an array that discards
// slowly; inode tables and journal are zeroed in the background of the first mount. Force is for mke2fs, which asks
// questions without, and for what an interrupted mkfs left; the others look for signatures themselves otherwise.
func mkfsArgs(fsType, device string, uuid UUID, resume bool) []string {
	var args []string
	switch fsType {
	case Ext4:
		args = []string{"-q", "-F", "-m", "0", "-U", uuid.String(), "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"}
	case XFS:
		args = []string{"-q", "-K", "-m", "uuid=" + uuid.String()}
	case Btrfs:
		args = []string{"-q", "-K", "-U", uuid.String()}
	}
	if resume && fsType != Ext4 {
		args = slices.Insert(args, 0, "-f")
	}
	return append(args, device)
}

// randomUUID is of version 4.
func randomUUID() UUID {
	var u UUID
	_, _ = rand.Read(u[:]) // never fails: crypto/rand
	u[6] = u[6]&0x0F | 0x40
	u[8] = u[8]&0x3F | 0x80
	return u
}

// check repairs what the checker repairs without questions, when the kernel has noted errors. A clean or merely
// unclean file system is left to the kernel, which replays the journal: no program, no time.
func (f *FS) check(ctx context.Context, device string, sb Superblock) error {
	if sb.FSType != Ext4 || !sb.HasErrors {
		return nil
	}
	_, err := f.Run.Run(ctx, nil, "e2fsck", "-f", "-p", device)
	var exit *hostexec.Error
	// e2fsck(8): 1 is "errors corrected".
	if err == nil || errors.As(err, &exit) && exit.ExitCode == 1 {
		return nil
	}
	if exit != nil && exit.ExitCode > 1 {
		return fmt.Errorf("%w: %s has errors that e2fsck -p does not repair; run e2fsck by hand: %w", ErrDamaged, device, err)
	}
	return opError("check", device, err)
}
