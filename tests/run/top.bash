# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced after checks.bash by the tests of agentcg-top.
# shellcheck shell=bash disable=SC2034,SC2154

top() { "$bin/agentcg-top" "$@"; }

# agent ARG...: agentcg-run ARG... beside us; sets host, group and uuid when its command is in there
agent() {
  local before
  before=$(groups | sort)
  "$bin/agentcg-run" --quiet "$@" >/dev/null 2>&1 & # the function would be a shell that waits for it
  host=$!
  appeared() {
    group=$(groups | sort | comm -13 <(echo "$before") -)
    grep -qs . "$group/cgroup.procs"
  }
  wait_for appeared || failed "there is an agent" "$(groups)"
  uuid=${group##*/}
}

# row: the last row of the agent in $said, single-spaced, without the uuid; cell NUMBER: of it, from 1 for CPU to 7 for state
row() { grep -E "^$uuid +[^ A-Z]" <<<"$said" | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2-; }
cell() { row | cut -d ' ' -f "$1"; }
