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
# more: adds what the terminal shows to screen; waits up to 20 s for a first character. Fails at the end of the output.
# A read of one character costs four system calls, so the rest of the output is read at once.
more() {
  local character rest=''
  IFS= read -r -N 1 -t 20 character <&"$shown" || return 1
  IFS= read -r -N 65536 -t 0.02 rest <&"$shown" || :
  screen+=$character$rest
}
# shows TEXT: reads until the terminal has shown it, and moves what was shown up to it to past. Ends the test after 20 s
shows() {
  local end=$((SECONDS + 20)) after
  until [[ $screen == *"$1"* ]]; do
    if [ "$SECONDS" -gt "$end" ] || ! more; then
      failed "the terminal shows: $1" "it shows: ${screen//$escape/^[}"
      kill "$terminal"
      exit 1
    fi
  done
  after=${screen#*"$1"}
  past+=${screen%"$after"} screen=$after
}
# ended: waits for the end; sets past to all output and status to the exit status
ended() {
  while more; do :; done
  exec {shown}<&- {keys}>&-
  wait "$terminal" || status=$?
  past+=$screen
}
