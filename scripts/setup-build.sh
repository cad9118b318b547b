#!/usr/bin/env bash
# Makes the machine ready to build Safelight: dlib with OpenBLAS from Debian, a C++ compiler for the
# wrapper around it, and compiler flags for this machine's processor. A second run does nothing.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
say() { printf 'setup: %s\n' "$*"; }

if ! command -v cargo >/dev/null; then
    say "Rust is missing: install it with rustup and run this again" >&2
    exit 1
fi

# OpenBLAS brings the BLAS and the LAPACK that dlib is linked with.
packages=(libdlib-dev libopenblas-dev)
command -v c++ >/dev/null || packages+=(g++)
"$root/scripts/apt.sh" "${packages[@]}"

# dlib's detector is made of templates and is compiled here, not in Debian's library. With AVX2 and
# FMA it is about 1.3 times as fast, and it would die of an illegal instruction on a processor
# without them: so the flags are chosen on the machine that builds.
cxxflags="-O3"
if [[ -r /proc/cpuinfo ]]; then
    processor=$(grep -m1 '^flags' /proc/cpuinfo || true)
    if [[ " $processor " == *" avx2 "* && " $processor " == *" fma "* ]]; then
        cxxflags="-O3 -mavx2 -mfma"
    fi
fi

config="$root/.cargo/config.toml"
header="# Written by scripts/setup-build.sh for this machine's processor; remove this line to keep your own."
wanted="$header
[env]
CXXFLAGS = \"$cxxflags\""

if [[ -f $config && $(head -n1 "$config") != "# Written by scripts/"* ]]; then
    say "leaving $config as it is: it was not written by this script"
elif [[ $(cat "$config" 2>/dev/null || true) != "$wanted" ]]; then
    say "compiling C++ with $cxxflags (.cargo/config.toml)"
    mkdir -p "$root/.cargo"
    printf '%s\n' "$wanted" >"$config.new"
    mv -f "$config.new" "$config"
fi
