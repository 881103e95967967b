#!/bin/sh
# PySide6 and VTK's off-screen windows need a few system libraries. As root on Debian or Ubuntu they are installed;
# elsewhere the packages are named and the tests that need them skip. The command line needs none of them.
set -eu

[ "$(uname -s)" = Linux ] || exit 0

packages=""
while read -r library package; do
    ldconfig -p | grep -q "$library" || packages="$packages $package"
done <<LIST
libEGL.so.1 libegl1
libGL.so.1 libgl1
libX11.so.6 libx11-6
libxkbcommon.so.0 libxkbcommon0
libfontconfig.so.1 libfontconfig1
libdbus-1.so.3 libdbus-1-3
libglib-2.0.so.0 libglib2.0-0
LIST
command -v fc-list >/dev/null || packages="$packages fontconfig"
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing system libraries:$packages"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of words
    { apt-get update && apt-get install --yes --no-install-recommends $packages; } >/dev/null
else
    echo "Missing system libraries, some tests will be skipped. On Debian or Ubuntu: sudo apt-get install$packages"
fi
