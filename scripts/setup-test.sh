#!/usr/bin/env bash
# Makes the machine ready to run the tests: MariaDB, NSQ, S3, Azure Blob, ffmpeg, and the Python packages that check
# the Kubernetes manifests and that mails are sent to. A second run does nothing.
#
# Nothing is started: the tests run servers of their own, on free ports and in temporary folders.
# MariaDB comes from mariadb-server-core, which holds the server of Debian's mariadb-server without
# its system service, so that no database is started now or at the next boot.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
say() { printf 'setup: %s\n' "$*"; }

# Debian has the servers in /usr/sbin, which is on root's PATH only.
has() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; }

packages=()
{ has mariadbd && has mariadb-install-db; } || packages+=(mariadb-server-core mariadb-client-core)
if ! { has nsqd && has nsqlookupd; } && ! has go && [[ ! -x $root/.tools/bin/nsqd ]]; then
    packages+=(golang-go ca-certificates)
fi
# Films are worked on by ffmpeg, boxed in by util-linux.
{ has ffmpeg && has ffprobe; } || packages+=(ffmpeg)
# Azure Blob is played by Azurite, a Node program.
if ! { has node && has npm; } && [[ ! -e $root/.tools/azurite/.built-from ]]; then
    packages+=(nodejs npm)
fi
((${#packages[@]} == 0)) || "$root/scripts/apt.sh" "${packages[@]}"

if ! { has nsqd && has nsqlookupd; }; then
    # Without NSQ the tests that need it say so and count as skipped; in CI that is a failure.
    "$root/scripts/build-nsq.sh" || [[ ${CI:-} != true ]] || exit 1
fi

# Without these the tests that need them say so and count as skipped; in CI that is a failure.
"$root/scripts/build-s3.sh" || [[ ${CI:-} != true ]] || exit 1
"$root/scripts/build-azurite.sh" || [[ ${CI:-} != true ]] || exit 1

# Two tests run the Go client beside ours.
"$root/scripts/build-go-nsq-peer.sh" || [[ ${CI:-} != true ]] || exit 1

# One test asks the services from a shell as people do.
"$root/scripts/build-go-tool.sh" grpcurl || [[ ${CI:-} != true ]] || exit 1

# kubectl renders the manifests as well as kustomize does. Without either, the tests that need them
# rendered are skipped, and in CI fail.
if ! has kubectl; then
    "$root/scripts/build-go-tool.sh" kustomize || say "the Kubernetes manifests will not be rendered by the tests" >&2
fi

venv=$root/.venv
requirements=("$root/kube_files/tests/requirements.txt" "$root/testkit/requirements.txt")
# The path is part of the stamp because a virtual environment does not survive being moved.
wanted="$venv $(cat "${requirements[@]}" | sha256sum)"
if [[ $(cat "$venv/.built-from" 2>/dev/null || true) != "$wanted" ]]; then
    # shellcheck source=scripts/python.sh
    source "$root/scripts/python.sh"
    find_python ensurepip python3-venv
    say "installing the manifest checker and a mail server into .venv"
    rm -rf "$venv"
    # shellcheck disable=SC2154 # set by find_python
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --requirement "${requirements[0]}" --requirement "${requirements[1]}"
    printf '%s\n' "$wanted" >"$venv/.built-from"
fi
