# shellcheck shell=bash
# Stages with their times, for the scripts beside this file: source it, call `stage` for each piece of work,
# and end with `finish`. Every stage runs, whatever became of those before it; finish tells and returns the outcome.

stage_names=()
stage_results=()
stage_began=$SECONDS
stage_failed=0

# Colours only for people.
if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi

# stage NAME COMMAND...: announces, runs in a subshell with errexit, tells the outcome. Call it as a plain command
# (not behind if, && or ||: bash would then ignore errexit inside).
stage() {
  local name=$1 from=$SECONDS rc
  shift
  printf '%s==> [%4ds] %s%s\n' "$bold" $((SECONDS - stage_began)) "$name" "$plain"
  set +e
  (set -e; "$@")
  rc=$?
  set -e
  stage_names+=("$name")
  if [ $rc -eq 0 ]; then
    stage_results+=("$(printf 'ok      %5ds' $((SECONDS - from)))")
  else
    stage_results+=("$(printf '%sFAILED%s  %5ds  (exit status %d)' "$red" "$plain" $((SECONDS - from)) $rc)")
    stage_failed=$((stage_failed + 1))
    printf '%s==> [%4ds] %s: FAILED, exit status %d%s\n' "$red" $((SECONDS - stage_began)) "$name" $rc "$plain"
  fi
}

# finish WHAT: one line a stage, then one for all. Returns 1 when a stage failed.
finish() {
  local i
  printf '\n'
  for i in "${!stage_names[@]}"; do
    printf '  %-52s %s\n' "${stage_names[$i]}" "${stage_results[$i]}"
  done
  if [ "$stage_failed" -eq 0 ]; then
    printf '%s%s: passed in %ds%s\n' "$bold" "$1" $((SECONDS - stage_began)) "$plain"
    return 0
  fi
  printf '%s%s: %d of %d stages FAILED after %ds%s\n' "$red" "$1" "$stage_failed" "${#stage_names[@]}" \
    $((SECONDS - stage_began)) "$plain"
  return 1
}

# compile [FLAG...] -- PACKAGE...: go build that tells how far it is, for the first time takes minutes. Nothing is told when it is quick.
compile() {
  local flags=()
  while [ "$1" != -- ]; do flags+=("$1"); shift; done
  shift
  local total
  total=$(go list -deps "$@" | wc -l)
  go build -v "${flags[@]}" "$@" 2>&1 | counted "$total"
}

# counted TOTAL: passes lines on, except the names of packages that `go build -v` prints: these it counts.
counted() {
  local line rc count=0 shown=$SECONDS
  while :; do
    rc=0
    IFS= read -r -t 5 line || rc=$?
    case $rc,$line in
      0,*[:\ ]* | 0,'#'*) printf '%s\n' "$line" ;;
      0,*) count=$((count + 1)) ;;
      *) [ $rc -gt 128 ] || break ;; # the end; above 128 it was only quiet
    esac
    if [ $((SECONDS - shown)) -ge 15 ]; then
      printf '    still at it: %d packages compiled, of %d at most\n' "$count" "$1"
      shown=$SECONDS
    fi
  done
}
