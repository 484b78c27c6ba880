package clusterenv

import "strings"

// nodeScript prints a line for each thing that volumes need on a node. One script, since each fork is dear there.
const nodeScript = `
cd /sys/class/iscsi_session 2>/dev/null && for s in session*; do [ -e "$s" ] && echo "iSCSI session: $s $(cat $s/targetname)"; done
for d in /sys/class/scsi_disk/*; do [ -e "$d" ] && echo "SCSI disk: $d"; done
for u in /sys/block/dm-*/dm/uuid; do [ -e "$u" ] && read id < "$u" && case $id in mpath-*) echo "map: $id";; esac; done
find /etc/iscsi/ifaces /etc/iscsi/nodes -name 'pb*' -printf 'record: %p\n' 2>/dev/null
while read -r _ at _; do case $at in *kubernetes.io~csi*|*/plugins/kubernetes.io/csi/*) echo "mount: $at";; esac; done < /proc/mounts
find /var/lib/portbind -name '*.json' ! -path /var/lib/portbind/node.json -printf 'staging record: %p\n' 2>/dev/null
true`

const targetScript = `
lvs --noheadings -o lv_name --select 'lv_name!=pool' | sed 's/^ */logical volume: /'
t=/sys/kernel/config/target
for f in $t/iscsi/iqn*/tpgt_*/lun/lun_* $t/iscsi/iqn*/tpgt_*/acls/iqn* $t/core/iblock_*/*/udev_path; do [ -e "$f" ] && echo "LIO: $f"; done
true`

// Leftovers are what volumes have on the machines, and the objects in the cluster that belong to no namespace.
func (e *Env) Leftovers() []string {
	e.T.Helper()
	left := strings.Fields(e.Kubectl("get", "persistentvolumes,volumeattachments,volumesnapshotcontents", "-o", "name"))
	for _, m := range e.Nodes {
		left = append(left, m.Volumes()...)
	}
	return append(left, e.Target.lines(targetScript)...)
}

// Volumes are what volumes have on a node: sessions, disks, maps, mounts, records.
func (m *Machine) Volumes() []string {
	m.e.T.Helper()
	return m.lines(nodeScript)
}

func (m *Machine) lines(script string) []string {
	m.e.T.Helper()
	var all []string
	for line := range strings.Lines(m.Run("sh", "-c", script)) {
		all = append(all, m.Name+": "+strings.TrimSpace(line))
	}
	return all
}

// Clean fails the test when anything is left over. Sessions linger for a while after the last volume.
func (e *Env) Clean() {
	e.T.Helper()
	e.without(e.Leftovers)
}
