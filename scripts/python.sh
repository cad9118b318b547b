# shellcheck shell=bash
# Sourced, not run: finds a Python that can do what is asked, and has Debian's installed where none can.

# find_python MODULE DEBIAN_PACKAGE: sets `python` to the first interpreter that has MODULE.
find_python() {
    local module=$1 package=$2 candidate
    for attempt in 1 2; do
        for candidate in python3 /usr/bin/python3; do
            if "$candidate" -c "import $module" >/dev/null 2>&1; then
                # shellcheck disable=SC2034 # for the script that sources this
                python=$candidate
                return
            fi
        done
        if ((attempt == 1)); then
            "$(dirname -- "${BASH_SOURCE[0]}")/apt.sh" "$package"
        fi
    done
    printf 'setup: no python3 with the module %s was found, and installing %s gave none\n' \
        "$module" "$package" >&2
    return 1
}
