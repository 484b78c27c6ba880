// Package writer writes so that afterwards one can tell whether every acknowledged write is there, and how long the
// longest one took.
package writer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	blockSize = 4096
	blocks    = 256
)

// Writer writes numbered blocks, one after the other, each O_DIRECT and O_DSYNC, round and round over the first MiB of
// a device or file. It remembers which were acknowledged, so that what is read back later, on whatever path or after
// whatever crash, can be held against it. Nothing may use the same region besides.
type Writer struct {
	mu       sync.Mutex
	acked    [blocks]uint64 // last acknowledged number per block
	tried    [blocks]uint64 // last number that may have been written
	count    uint64
	stall    time.Duration
	began    time.Time // of the write in flight
	lastAck  time.Time
	err      error
	stop     chan struct{}
	finished chan struct{}
}

// Result is the state of a Writer.
type Result struct {
	Acked uint64        `json:"acked"` // writes acknowledged
	Stall time.Duration `json:"stall"` // longest time a write took, the one in flight included
	Last  time.Time     `json:"last"`  // of the last acknowledgement
	Err   error         `json:"-"`     // of the write that failed; the writer stops there
}

// Start begins to write to a device, or to a file, which is made when it does not exist.
func Start(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_DIRECT|unix.O_DSYNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Writer{stop: make(chan struct{}), finished: make(chan struct{}), lastAck: time.Now()}
	go w.loop(f)
	return w, nil
}

func (w *Writer) loop(f *os.File) {
	defer close(w.finished)
	defer f.Close()
	buf, err := alignedBlock()
	for n := uint64(1); err == nil; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		err = w.write(f, buf, n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *Writer) write(f *os.File, buf []byte, n uint64) error {
	slot := n % blocks
	fillBlock(buf, n)
	w.mu.Lock()
	w.tried[slot], w.began = n, time.Now()
	w.mu.Unlock()
	_, err := f.WriteAt(buf, int64(slot)*blockSize) //nolint:gosec // small
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastAck = time.Now()
	w.stall = max(w.stall, w.lastAck.Sub(w.began))
	w.began = time.Time{}
	if err != nil {
		return err
	}
	w.acked[slot] = n
	w.count++
	return nil
}

// Result returns the state so far.
func (w *Writer) Result() Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := Result{Acked: w.count, Stall: w.stall, Last: w.lastAck, Err: w.err}
	if !w.began.IsZero() {
		r.Stall = max(r.Stall, time.Since(w.began))
	}
	return r
}

// ResetStall begins the measurement of the longest stall anew.
func (w *Writer) ResetStall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall = 0
}

// Stop ends the writing and returns the result. A write that still hangs after the timeout is an error in it.
func (w *Writer) Stop(timeout time.Duration) Result {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	select {
	case <-w.finished:
		return w.Result()
	case <-time.After(timeout):
		r := w.Result()
		r.Err = errors.Join(r.Err, errors.New("a write hangs"))
		return r
	}
}

// Verify reads everything back past every cache and returns an error that names the blocks which are not what was
// acknowledged. A write that was under way when the writer stopped may or may not be there.
func (w *Writer) Verify(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, err := alignedBlock()
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for slot := range w.acked {
		if w.tried[slot] == 0 {
			continue
		}
		if _, err := f.ReadAt(buf, int64(slot)*blockSize); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, w.compare(slot, buf))
	}
	return errors.Join(errs...)
}

func (w *Writer) compare(slot int, buf []byte) error {
	n, err := blockNumber(buf)
	if n == w.acked[slot] || n == w.tried[slot] && err == nil {
		return nil
	}
	return fmt.Errorf("block %d: has number %d (%v), acknowledged was %d", slot, n, err, w.acked[slot]) //nolint:errorlint // may be nil
}

func fillBlock(buf []byte, n uint64) {
	for i := 0; i < blockSize-4; i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], n+uint64(i)<<32) //nolint:gosec // a pattern
	}
	binary.LittleEndian.PutUint32(buf[blockSize-4:], crc32.ChecksumIEEE(buf[:blockSize-4]))
}

func blockNumber(buf []byte) (uint64, error) {
	if crc32.ChecksumIEEE(buf[:blockSize-4]) != binary.LittleEndian.Uint32(buf[blockSize-4:]) {
		return 0, errors.New("checksum does not match")
	}
	return binary.LittleEndian.Uint64(buf), nil
}

// alignedBlock is page-aligned, as O_DIRECT wants it.
func alignedBlock() ([]byte, error) {
	return unix.Mmap(-1, 0, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}
