#!/bin/sh
# An empty virtual environment, made by the first Python that can: make_venv.sh FOLDER PYTHON...
set -eu
folder=$1
shift

stop() {
    echo "$1" >&2
    exit 1
}

runs() {
    "$1" -c "$2" >/dev/null 2>&1
}

fitting=""
for python in "$@"; do
    runs "$python" 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || continue
    fitting=${fitting:-$python}
    runs "$python" 'import venv, ensurepip' || continue
    fitting=$python
    break
done

[ -n "$fitting" ] || stop "Strata needs Python 3.11, 3.12 or 3.13, and none of these is one: $*;\
 install one, or name it: make PYTHON=/path/to/python3.12"
version=$("$fitting" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
runs "$fitting" 'import venv, ensurepip' || stop "$fitting has no ensurepip, which a virtual\
 environment needs; install it (Debian, Ubuntu: apt-get install python$version-venv) and run make again"
runs "$fitting" 'import os, sys
glibc = sys.platform == "linux" and os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")
sys.exit(sys.platform == "linux" and [int(part) for part in glibc[:2]] < [2, 28])' ||
    stop "torch has no wheel for this system's C library, it needs glibc 2.28 or later;\
 use a Linux that has it (Debian 10, Ubuntu 20.04, Fedora 29 or later), there or in a container"

echo "Setting up $folder with Python $version; this takes a few minutes, once."
"$fitting" -m venv --clear "$folder"
