#!/usr/bin/env bash
# Train the grid of memcap check in two environments and hold the second against the first: BASE and HEAD are what pip installs into
# them, ENGINE and DEVICE who trains and where. SPEED=true asks too whether the second is as fast. The exit status is that of
# memcap check, of both checks the first that is not 0, and 2 where it did not come to one.
set -euo pipefail
memcap=$(cd "$(dirname "$0")/../../.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d "${RUNNER_TEMP:-/tmp}/capacity-check-XXXXXX")

# What later steps read, however this ends: 1 is a gate that failed, 2 says that nothing could be checked.
status=2
trap '{
  echo "passed=$([ $status = 0 ] && echo true || echo false)"
  echo "folder=$work/found"
} >> "${GITHUB_OUTPUT:-/dev/null}"
exit $status' EXIT

extra=
if [ "$SPEED" = true ]; then extra=[suite]; fi

# An environment of this name; pip gets the words of its second argument.
environment() {
  "$python" -m venv "$work/$1"
  # shellcheck disable=SC2086
  "$work/$1/bin/python" -m pip install --quiet "$memcap$extra" $2
}
environment base "$BASE"
environment head "$HEAD"

how=("engine=$ENGINE" "device=$DEVICE")
"$work/base/bin/python" -P -m bench run grid=check "run_dir=$work/trained" fresh=true "${how[@]}"
checked=0
"$work/head/bin/python" -P -m bench check capacity "base=$work/trained" "run_dir=$work/found" "${how[@]}" || checked=$?
status=$checked

# The suite of benchmarks and what it measures come from the sources beside this script.
if [ "$SPEED" = true ]; then
  checked=0
  (cd "$memcap" && "$work/head/bin/python" -m bench check speed "base_python=$work/base/bin/python" "run_dir=$work/found/speed") || checked=$?
  if [ $status = 0 ]; then status=$checked; fi
fi
for found in "$work/found/check.md" "$work/found/speed/check.md"; do
  if [ -e "$found" ]; then cat "$found" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"; fi
done
