#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# valgrind.sh PROGRAM [ARG...]: runs a test under valgrind. Fails for an error, a byte that is not freed and an open descriptor.
set -eu
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# valgrind's exit status does not cover open descriptors (Debian 12's 3.19 only lists them), nor an error in a child that
# has called execve(2) since. The logs, one per process, contain both.
valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all \
  --track-fds=yes --log-file="$logs/%p" "$@" &
main=$!
status=0
wait $main || status=$?

# Leaks and open descriptors of a forked child are those of its parent. They are ignored.
for log in "$logs"/*; do
  is_main=0 who="a child of the test"
  [ "$log" != "$logs/$main" ] || { is_main=1 who="the test"; }
  awk -v is_main=$is_main '
    /^--/ { next }   # remarks of valgrind, such as on an unknown system call, which fails with ENOSYS
    { text = $0; sub(/^==[0-9]+== ?/, "", text) }
    text ~ /^ *$/ || text ~ /^FILE DESCRIPTORS:/ || text ~ /^ +(at|by) 0x/ { next }
    text ~ /^Thread [0-9]+:$/ { next }   # a heading
    text ~ /^Open / { open++; next }
    text ~ /^ *<inherited from parent>/ { open--; next }
    text ~ /in loss record/ && !is_main { next }
    { found = 1 }
    END { exit found || (is_main && open > 0) }
  ' "$log" || {
    echo "valgrind reports for $who:" >&2
    cat "$log" >&2
    [ $status -ne 0 ] || status=99
  }
done
[ -e "$logs/$main" ] || { echo "valgrind has written no log" >&2; status=99; }
exit $status
