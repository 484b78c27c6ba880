package attach

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/portbind/portbind/pkg/multipath"
)

// VolumeAt gives the WWID of the volume whose map has these device numbers; false when that is no multipath map, or one
// whose WWID does not follow from its name. It is for a mount whose record is lost.
func (a *Attacher) VolumeAt(major, minor uint32) (wwid string, ok bool) {
	path := filepath.Join(string(a.sys), "dev", "block", fmt.Sprintf("%d:%d", major, minor), "dm", "uuid")
	uuid, err := os.ReadFile(path)
	if err != nil {
		return "", false
	}
	id, ok := strings.CutPrefix(strings.TrimSpace(string(uuid)), multipath.UUID(""))
	if !ok {
		return "", false
	}
	return multipath.WWID(id)
}
