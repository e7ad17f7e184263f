# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by the tests of the example programs. The argument of each test is the directory of the built programs. The tests run
# where agentcg can make a group: in the lab, or on a host with a usable cgroup2. Sets bin and scratch.
# shellcheck shell=bash disable=SC2034

bin=$1
scratch=$(mktemp -d)
checked=0 failed=0 status=0 out='' err=''

# Only these directories: an unreadable directory in PATH turns "not found" into "permission denied".
PATH=/usr/local/bin:/usr/bin:/bin

passed() { checked=$((checked + 1)); echo "ok    $1"; }
failed() { # SENTENCE DETAILS
  checked=$((checked + 1)) failed=$((failed + 1))
  printf 'FAIL  %s\n' "$1"
  sed 's/^/      /' <<<"$2"
}

is() { # SENTENCE EXPECTED GOT
  if [ "$2" = "$3" ]; then passed "$1"; else failed "$1" "expected: $2"$'\n'"got:      $3"; fi
}
matches() { # SENTENCE REGEX TEXT
  if [[ $3 =~ $2 ]]; then passed "$1"; else failed "$1" "no match for: $2"$'\n'"in:           $3"; fi
}
lacks() { # SENTENCE REGEX TEXT
  if [[ $3 =~ $2 ]]; then failed "$1" "matches: $2"$'\n'"in:      $3"; else passed "$1"; fi
}
between() { # SENTENCE LEAST MOST NUMBER
  if [[ $4 =~ ^[0-9]+$ ]] && [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; then
    passed "$1"
  else
    failed "$1" "expected: $2 to $3"$'\n'"got:      $4"
  fi
}

# observe COMMAND...: sets out and err to its output, and status to its exit status
observe() {
  status=0
  "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  out=$(<"$scratch/out") err=$(<"$scratch/err")
}
run() { "$bin/agentcg-run" "$@"; }
prints() { # SENTENCE EXPECTED ARG...: agentcg-run --quiet ARG... prints this
  observe run --quiet "${@:3}"
  is "$1" "0 $2" "$status $out$err"
}

# wait_for COMMAND...: waits until it succeeds; fails after 10 s
wait_for() {
  local end=$((SECONDS + 10))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1 # a new process takes much CPU time in User-Mode Linux
  done
}

# groups: prints the directories of all agents
groups() { find /sys/fs/cgroup -mindepth 2 -type d -path '*/synwire/agents/*' 2>/dev/null; }

finish() {
  local rc=$?
  rm -rf "$scratch"
  [ "$rc" = 0 ] || { echo "FAIL  the test ended early, with exit status $rc"; exit 1; }
  is "no group is left behind" "" "$(groups)"
  echo "$checked checked, $failed failed"
  [ "$failed" = 0 ] || exit 1
}
trap finish EXIT
