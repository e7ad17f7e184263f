# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced after checks.bash by the tests of agentcg-top.
# shellcheck shell=bash disable=SC2034,SC2154

top() { "$bin/agentcg-top" "$@"; }

# agent ARG...: starts agentcg-run ARG...; sets host, group and uuid when its command is in the group
agent() {
  local before
  before=$(groups | sort)
  "$bin/agentcg-run" --quiet "$@" >/dev/null 2>&1 & # not run(), which would be a shell that waits for it
  host=$!
  appeared() {
    group=$(groups | sort | comm -13 <(echo "$before") -)
    grep -qs . "$group/cgroup.procs"
  }
  wait_for appeared || failed "an agent is made" "$(groups)"
  uuid=${group##*/}
}

# row: prints the agent's last row in $printed, single-spaced, without the uuid; cell NUMBER: one value, from 1 (CPU) to 7 (state)
row() { grep -E "^$uuid +[^ A-Z]" <<<"$printed" | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2-; }
cell() { row | cut -d ' ' -f "$1"; }
