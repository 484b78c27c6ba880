#!/bin/bash
# capture.sh: prints what package sysfs reads of this machine's /sys as one text, for testdata/*.tree. Run it in a lab
# guest with sessions and maps. Lines: "l PATH TARGET" a link, "f PATH BYTES" a file, followed by its content.
set -eu
cd /sys
link() { printf 'l %s %s\n' "$1" "$(readlink "$1")"; }
file() {
  local text; text=$(cat "$1" 2>/dev/null && echo .) || text=. # write-only, or no value
  text=${text%.}; printf 'f %s %d\n%s\n' "$1" "${#text}" "$text"
}
for class in iscsi_session iscsi_connection iscsi_host scsi_host scsi_disk scsi_device; do
  for l in "class/$class"/*; do [ -L "$l" ] && link "$l"; done
done
for l in block/sd* block/dm-*; do [ -L "$l" ] && link "$l"; done
devices=$(readlink -f block/sd* block/dm-* class/scsi_host/host* | sed 's|^/sys/||' | sed 's|/block/sd.*||; s|/scsi_host/.*||' | sort -u)
# shellcheck disable=SC2086 # a list of paths without spaces
find $devices \( -name power -o -name queue -o -name mq -o -name integrity -o -name bsg -o -name scsi_generic -o -name trace \) -prune -o -print |
  sort -u | while read -r path; do
  name=${path##*/}
  if [ -L "$path" ]; then
    case $path in */device | */slaves/* | */holders/*) link "$path" ;; esac
    continue
  fi
  [ -f "$path" ] || continue
  case $name in
    targetname | tpgt | ifacename | initiatorname | state | recovery_tmo | netdev | address | port | persistent_address | persistent_port | \
      scan | delete | rescan | wwid | vendor | model | size | ro | dev | uuid | name | suspended) file "$path" ;;
  esac
done
