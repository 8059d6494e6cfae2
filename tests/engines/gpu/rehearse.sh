#!/bin/sh
# A rehearsal of make gpu-evidence without a GPU: the tracked files alone, no registry, no native engine, a device that trains nothing.
#   sh tests/engines/gpu/rehearse.sh /path/to/python3.12 /folder/of/wheels
# The interpreter has torch, numpy, pandas and the others that a machine for training has. Judges must find the device wrong.
set -eu
python=$1 wheels=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/tree" "$folder/tools" "$folder/out"
git ls-files -z | tar --null --files-from=- -cf - | tar -xf - -C "$folder/tree"
cp -r "$wheels" "$folder/tree/.whl"
for tool in compute-sanitizer ncu; do
    cat > "$folder/tools/$tool" <<'TOOL'
#!/bin/sh
# Runs the command among its arguments.
while [ $# -gt 0 ] && ! { [ -f "$1" ] && [ -x "$1" ]; }; do shift; done
"$@" && status=0 || status=$?
echo "======== ${0##*/}: nothing was looked at"
exit "$status"
TOOL
    chmod +x "$folder/tools/$tool"
done
cd "$folder/tree"
export PIP_NO_INDEX=1 OUT="$folder/out" XDG_CACHE_HOME="$folder/cache" PATH="$folder/tools:$PATH"
unset PYTHONPATH PYTHONDONTWRITEBYTECODE
# Compiling takes a minute of two cores, which is more than the share of a machine with a GPU: not within its limit here.
PYTHONPATH="$folder/site:$folder/tree" sh -c '
    for wheel in .whl/*.whl; do "$0" -m zipfile -e "$wheel" "$1"; done
    "$0" -c "import sys; from bench.engines.cuda.tiles import KERNELS; from tests.engines.gpu.compiled import main; sys.exit(main(list(KERNELS), \"sm_90\"))"
' "$python" "$folder/site"
for stage in A B; do
    began=$(date +%s)
    status=0
    make gpu-evidence VENV= PYTHON="$python" STAGE=$stage ARGS="--device fake" || status=$?
    echo "stage $stage: make ended with $status after $(($(date +%s) - began)) s"
done
ls -l "$OUT"
