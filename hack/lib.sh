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
