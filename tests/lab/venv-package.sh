#!/bin/sh
# Installs the package without which a Debian-like system's Python makes no virtual environments.
set -eu
python=$1
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
package="python$version-venv"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "natop's make needs Python's venv module: sudo apt-get install $package" >&2
    exit 1
fi
echo "Installing $package"
export DEBIAN_FRONTEND=noninteractive
apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$package" >/dev/null; }
