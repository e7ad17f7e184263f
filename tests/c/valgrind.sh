#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# valgrind.sh PROGRAM [ARG...]: run a test under valgrind. No error, no byte lost or left, no descriptor left open.
set -eu
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# By its own account valgrind does not fail for open descriptors (Debian 12's 3.19 only lists them), and an error in a
# child that has called execve(2) meanwhile is in its log alone. So the logs decide, one a process.
valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all \
  --track-fds=yes --log-file="$logs/%p" "$@" &
main=$!
status=0
wait $main || status=$?

# A forked child ends with what its parent has in hand: there, leaks and open descriptors mean nothing.
for log in "$logs"/*; do
  is_main=0 who="a child of the test"
  [ "$log" != "$logs/$main" ] || { is_main=1 who="the test"; }
  awk -v is_main=$is_main '
    /^--/ { next }   # its own remarks, such as on a system call that it does not know and answers with ENOSYS
    { text = $0; sub(/^==[0-9]+== ?/, "", text) }
    text ~ /^ *$/ || text ~ /^FILE DESCRIPTORS:/ || text ~ /^ +(at|by) 0x/ { next }
    text ~ /^Thread [0-9]+:$/ { next }   # a heading
    text ~ /^Open / { open++; next }
    text ~ /^ *<inherited from parent>/ { open--; next }
    text ~ /in loss record/ && !is_main { next }
    { found = 1 }
    END { exit found || (is_main && open > 0) }
  ' "$log" || {
    echo "valgrind has found something in $who:" >&2
    cat "$log" >&2
    [ $status -ne 0 ] || status=99
  }
done
[ -e "$logs/$main" ] || { echo "valgrind has left no log" >&2; status=99; }
exit $status
