#!/usr/bin/env bash
# Installs the Debian packages named as arguments, those that are missing only, and says so.
#
# Nothing is asked of the network, and sudo is not needed, while all of them are there. On a system
# without apt it names what is wanted and goes on: the build says itself when something is missing.
set -euo pipefail

say() { printf 'setup: %s\n' "$*"; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "no apt here; please see to it that the equivalents of these Debian packages are installed: $*" >&2
    exit 0
fi

missing=()
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        say "these Debian packages are missing: ${missing[*]}" >&2
        say "install them as root (apt-get install ${missing[*]}) and run this again" >&2
        exit 1
    fi
    as_root=(sudo)
fi

say "installing Debian packages: ${missing[*]}"
# A third-party source that cannot be reached makes the update fail while Debian's own lists are
# fine, so the installation decides.
"${as_root[@]}" apt-get update -qq || say "apt-get update had errors, going on with the lists there are" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
