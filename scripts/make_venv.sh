#!/bin/sh
# Makes the virtual environment that everything runs in: sh scripts/make_venv.sh FOLDER
# Debian splits venv off from Python; where we may install packages we fetch it, elsewhere we say what is missing.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "Python 3.11 or newer is needed, but '$python' is $("$python" --version 2>&1); call make with PYTHON=/path/to/python3.11." >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
    else
        echo "Python's venv module is missing; install the package python3-venv and call make again." >&2
        exit 1
    fi
fi
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c constraints.txt -r requirements.txt -r requirements-dev.txt
