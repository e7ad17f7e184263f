#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# so.sh LIBRARY HEADER MAP CC: checks the shared library as a packager and the dynamic linker see it.
set -eu
export LC_ALL=C
library=$1 header=$2 map=$3 cc=$4
failed=0

# check SENTENCE GOT EXPECTED
check() {
  if [ "$2" = "$3" ]; then
    echo "$1"
  else
    printf 'FALSE: %s\n  got:      %s\n  expected: %s\n' "$1" "$2" "$3" >&2
    failed=1
  fi
}

one_line() { sort -u | tr '\n' ' '; }
dynamic() { readelf -dW "$library" | sed -nE "s/.*\($1\).*\[(.*)\]/\1/p"; }
has() { if readelf -dW "$library" | grep -qE "$1"; then echo yes; else echo no; fi; }

# readelf -Ws: Num Value Size Type Bind Vis Ndx Name[@@VERSION]
exported=$(readelf --dyn-syms -W "$library" | awk '$5 != "LOCAL" && $7 != "UND" && $1 ~ /^[0-9]+:$/ { print $8 }')
declared=$("$cc" -E -P "$header" | grep -oE '\bagentcg_[a-z0-9_]+ *\(' | tr -d '( ' | one_line)
versioned=$(awk '/^AGENTCG_/ { node = $1 } /agentcg_[a-z0-9_]+;/ { gsub(/[ \t;]/, ""); print $0 "@@" node }' "$map" |
  one_line)
listed=$(tr ' ' '\n' <<<"$versioned" | sed -n 's/@@.*//p' | one_line)

check "the soname is libagentcg.so.0" "$(dynamic SONAME)" libagentcg.so.0
check "the header declares what the map lists" "$declared" "$listed"
check "exactly the symbols of the map are exported, with its versions" \
  "$(grep -v '^AGENTCG_[0-9.]*$' <<<"$exported" | one_line)" "$versioned"
check "it needs only libc" "$(dynamic NEEDED | grep -vE '^ld-linux' | one_line)" "libc.so.6 "
check "it has no RPATH and no RUNPATH" "$(has 'R(UN)?PATH')" no
check "it has no text relocations" "$(has TEXTREL)" no
check "all symbols are bound when it is loaded" "$(has 'BIND_NOW|FLAGS.* NOW')" yes
check "its relocated data is made read-only" \
  "$(readelf -lW "$library" | grep -c GNU_RELRO)" 1
check "its stack is not executable" "$(readelf -lW "$library" | awk '$1 == "GNU_STACK" { print $7 }')" RW

exit $failed
