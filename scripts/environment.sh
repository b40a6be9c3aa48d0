# Sourced by scripts/demo, scripts/test and scripts/build_docs: sets $python to an interpreter that
# has EqMM with the extras named in the first argument, installing what is missing.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "EqMM needs Python 3.10 or newer; none was found on the PATH." >&2
    return 1
}

# The active virtual (or non-base conda) environment if there is one, else .venv in the clone.
find_environment() {
    if [[ -n "${VIRTUAL_ENV:-}" ]]; then
        environment="$VIRTUAL_ENV"
    elif [[ -n "${CONDA_PREFIX:-}" && "${CONDA_DEFAULT_ENV:-base}" != base ]]; then
        environment="$CONDA_PREFIX"
    else
        environment="$root/.venv"
        if ! "$environment/bin/python" -m pip --version >/dev/null 2>&1; then
            local base
            base="$(find_python)"
            echo "Making a virtual environment in $environment"
            "$base" -m venv "$environment"
        fi
    fi
    python="$environment/bin/python"
}

# Installing is skipped while what decides its outcome is unchanged since the last time.
install_eqmm() {
    local extras="$1" stamp="$environment/.eqmm-${1//,/-}" state
    state="$(echo "$root" | cat - "$root/setup.cfg" "$root/scripts/constraints.txt" | cksum)"
    if [[ "$(cat "$stamp" 2>/dev/null)" == "$state" ]]; then
        return
    fi
    echo "Installing EqMM[$extras] into $environment (a few minutes the first time)"
    "$python" -m pip install --disable-pip-version-check \
        --constraint "$root/scripts/constraints.txt" --editable "$root[$extras]"
    echo "$state" >"$stamp"
}

cd "$root"
find_environment
install_eqmm "$1"
export PATH="$environment/bin:$PATH"
