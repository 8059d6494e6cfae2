#!/usr/bin/env bash
# Train the grid of memcap check in two environments and hold the second against the first: BASE and HEAD are what pip installs into
# them, ENGINE and DEVICE who trains and where. The exit status is that of memcap check, 2 where it did not come to one.
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

# An environment of this name; pip gets the words of its second argument.
environment() {
  "$python" -m venv "$work/$1"
  # shellcheck disable=SC2086
  "$work/$1/bin/python" -m pip install --quiet "$memcap" $2
}
environment base "$BASE"
environment head "$HEAD"

how=("engine=$ENGINE" "device=$DEVICE")
"$work/base/bin/python" -P -m bench run grid=check "run_dir=$work/trained" fresh=true "${how[@]}"
checked=0
"$work/head/bin/python" -P -m bench check capacity "base=$work/trained" "run_dir=$work/found" "${how[@]}" || checked=$?
status=$checked
if [ -e "$work/found/check.md" ]; then
  cat "$work/found/check.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
fi
