#!/bin/sh
# Installs asa with its models into a virtual environment: install.sh FOLDER, from the root of the checkout.
# TORCH_INDEX is where PyTorch is taken from; empty: PyPI. An environment that is there already is used as it is.
set -eu

target=${1:?"Name the folder of the environment: install.sh FOLDER"}
[ -x "$target/bin/python" ] || python3 -m venv "$target"

pip() {
    "$target/bin/python" -m pip --disable-pip-version-check --no-input install --no-cache-dir \
        --constraint constraints.txt "$@"
}

# PyTorch goes first and alone: only it is sought on its index.
if [ -n "${TORCH_INDEX:-}" ]; then
    pip --no-deps --extra-index-url "$TORCH_INDEX" torch
else
    pip torch
fi
pip '.[slicer-core,slurm]'
install -m 755 Resources/Container/run.sh "$target/bin/run.sh"
"$target/bin/asa" models >/dev/null # the weights are inside, and can be read
