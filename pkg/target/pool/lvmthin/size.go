package lvmthin

import (
	"fmt"

	"github.com/portbind/portbind/pkg/target/pool"
)

// maxVolume is the largest virtual size of one volume: far above any pool, far below what LVM's and the kernel's
// arithmetic takes (16 PiB with extents of 4 MiB).
const maxVolume = 1 << 50

// wanted says how large a volume should be.
type wanted struct {
	required, limit int64
	// least is the size of the source; a volume made from it cannot be smaller.
	least int64
	// whenUnset is the size for required 0.
	whenUnset int64
	extent    int64
}

// size chooses a multiple of the extent within the bounds, or gives ErrOutOfRange.
func (w wanted) size() (int64, error) {
	if w.limit > 0 && w.required > w.limit {
		return 0, fmt.Errorf("%w: required_bytes %d is above limit_bytes %d", pool.ErrOutOfRange, w.required, w.limit)
	}
	want := w.required
	if want == 0 {
		want = w.unset()
	}
	if want < w.least {
		want = w.least
	}
	if want > maxVolume {
		return 0, fmt.Errorf("%w: %d bytes are above the largest volume of %d bytes", pool.ErrOutOfRange, want, int64(maxVolume))
	}
	size := roundUp(want, w.extent)
	if w.limit > 0 && size > w.limit {
		return 0, fmt.Errorf("%w: the smallest possible size is %d bytes (multiples of %d), limit_bytes is %d",
			pool.ErrOutOfRange, size, w.extent, w.limit)
	}
	return size, nil
}

// unset is the default size, less when the limit is below it.
func (w wanted) unset() int64 {
	if w.limit > 0 && w.limit < w.whenUnset {
		return max(w.limit-w.limit%w.extent, w.extent)
	}
	return w.whenUnset
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// fits says whether a volume that exists satisfies a request for a size.
func fits(size, required, limit int64) bool {
	return size >= required && (limit == 0 || size <= limit)
}
