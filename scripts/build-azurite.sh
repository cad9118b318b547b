#!/bin/sh
# Installs Azurite, an Azure Blob server that the tests put objects into, into .tools/azurite/, in the versions that
# tools/azurite/package-lock.json pins.
#
# Idempotent: does nothing (and needs no network, nor Node) while it is there and came from the same files. Prints
# what it does.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
source_dir="$root/tools/azurite"
tools="$root/.tools/azurite"
stamp="$tools/.built-from"

say() { printf 'azurite: %s\n' "$*"; }

wanted=$(cat "$source_dir/package.json" "$source_dir/package-lock.json" | sha256sum | cut -d' ' -f1)

if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    say "azurite is up to date in $tools"
    exit 0
fi

if ! command -v npm >/dev/null 2>&1; then
    say "npm is not installed, so azurite cannot be installed" >&2
    exit 1
fi

say "installing azurite into $tools"
rm -rf "$tools"
mkdir -p "$tools"
cp "$source_dir/package.json" "$source_dir/package-lock.json" "$tools/"
# No package runs code of its own when it is installed.
npm ci --prefix "$tools" --ignore-scripts --omit=dev --no-audit --no-fund --silent
printf '%s\n' "$wanted" >"$stamp"
say "installed"
