# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced after checks.bash by the tests of programs on a terminal, which is script(1).
# shellcheck shell=bash disable=SC2034,SC2154

escape=$'\033'

# on_terminal COLUMNS SCRIPT: starts SCRIPT on a terminal of that width. SCRIPT ignores the SIGINT of Ctrl-C
on_terminal() {
  past='' screen='' status=0
  coproc SHELL=/bin/sh TERM=xterm script -qefc \
    "stty rows 24 cols $1; trap : INT; PATH=$bin:$bin/workloads:\$PATH; $2; exit \$?" /dev/null 2>&1
  terminal=$COPROC_PID
  exec {shown}<&"${COPROC[0]}" {keys}>&"${COPROC[1]}"
}
# shellcheck disable=SC2059 # keys are printf escapes
press() { printf "$1" >&"$keys"; }
# shows TEXT: reads until the terminal has shown it, and moves what was read to past. Ends the test after 20 s
shows() {
  local character='' end=$((SECONDS + 20))
  until [[ $screen == *"$1"* ]]; do
    if [ "$SECONDS" -gt "$end" ] || ! IFS= read -r -N 1 -t 20 character <&"$shown"; then
      failed "the terminal shows: $1" "it shows: ${screen//$escape/^[}"
      kill "$terminal"
      exit 1
    fi
    screen+=$character
  done
  past+=$screen screen=''
}
# ended: waits for the end; sets past to all output and status to the exit status
ended() {
  local character
  while IFS= read -r -N 1 -t 20 character <&"$shown"; do screen+=$character; done
  exec {shown}<&- {keys}>&-
  wait "$terminal" || status=$?
  past+=$screen
}
