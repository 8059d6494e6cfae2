#!/usr/bin/env bash
# Train the grid of memcap check in two environments and hold the second against the first: BASE and HEAD are what pip installs into
# them, ENGINE and DEVICE who trains and where. The exit status is that of memcap check.
set -euo pipefail
memcap=$(cd "$(dirname "$0")/../../.." && pwd)
work=${RUNNER_TEMP:-$(mktemp -d)}/capacity-check
mkdir -p "$work"

# The environment of this name, made unless it is there; pip gets the words of its second argument.
environment() {
  if [ ! -x "$work/$1/bin/python" ]; then
    python3 -m venv "$work/$1"
    # shellcheck disable=SC2086
    "$work/$1/bin/python" -m pip install --quiet "$memcap" $2
  fi
}
environment base "$BASE"
environment head "$HEAD"

how=("engine=$ENGINE" "device=$DEVICE")
"$work/base/bin/python" -P -m bench run grid=check "run_dir=$work/trained" fresh=true "${how[@]}"
status=0
"$work/head/bin/python" -P -m bench check capacity "base=$work/trained" "run_dir=$work/found" "${how[@]}" || status=$?
if [ -e "$work/found/check.md" ]; then
  cat "$work/found/check.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
fi
{
  echo "passed=$([ $status = 0 ] && echo true || echo false)"
  echo "folder=$work/found"
} >> "${GITHUB_OUTPUT:-/dev/null}"
exit $status
