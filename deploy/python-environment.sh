# Sourced by deploy/up and tests/run: makes $venv, with the pinned requirements and the command `longshore`, from the
# first Python that will do.
# Expects $checkout; sets $home, $venv and $result, and says what went wrong in one sentence.
home=$(realpath -m "${LONGSHORE_HOME:-$checkout/.longshore}")
venv=$home/venv
requirements=$checkout/requirements.txt

die() { echo "$(basename "$0"): $1" >&2; exit 1; }

# A Python of 3.11 or later that can make an environment with pip.
find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

install_python() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "no Python 3.11 or later with venv was found; install one (Debian, Ubuntu: apt-get install python3 python3-venv)"
    fi
    echo "         installing python3 and python3-venv" >&2
    export DEBIAN_FRONTEND=noninteractive
    # One broken source among several is common, and Python may come from another.
    apt-get -qq -o DPkg::Lock::Timeout=120 update >/dev/null || true
    apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends \
        python3 python3-venv ca-certificates >/dev/null || die "apt-get could not install python3 and python3-venv; see above"
}

missing="see that pip reaches its index" from=()
if [ -n "${LONGSHORE_WHEELS:-}" ]; then
    # Carried here, because no index is reached (docs/air-gapped.md). Images are built from them as well.
    wheels=$(realpath -e "$LONGSHORE_WHEELS" 2>/dev/null) || die "LONGSHORE_WHEELS names no folder: $LONGSHORE_WHEELS"
    missing="those of this system and this Python are to be in $wheels"
    export LONGSHORE_WHEELS=$wheels
    from=(--no-index --find-links "$wheels")
fi

stamp=$(sha256sum "$requirements" | cut -d' ' -f1)
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    result="is there"
else
    python=$(find_python) || { install_python; python=$(find_python) || die "the Python of this system is older than 3.11; install a newer one"; }
    mkdir -p "$home"
    "$python" -m venv --clear "$venv"
    # uv resolves nothing here, it only fetches many files at once; pip does the same, slower.
    if "$venv/bin/python" -m pip install -q --disable-pip-version-check "${from[@]}" uv 2>/dev/null; then
        install=("$venv/bin/uv" pip install -q --python "$venv/bin/python")
    else
        install=("$venv/bin/python" -m pip install -q --disable-pip-version-check)
    fi
    "${install[@]}" "${from[@]}" --require-hashes -r "$requirements" \
        || die "the packages of requirements.txt could not be installed; $missing"
    echo "$stamp" >"$venv/requirements.sha256"
    result="made with $("$venv/bin/python" -V)"
fi

# The command line, for whoever types its path or has it on PATH. Without -P a folder of the same name as a module,
# where it is typed, would be taken for it.
launcher=$(mktemp "$venv/bin/longshore.XXXXXX")
# What %q writes of a path that has more than printable ASCII is bash's alone.
printf '#!/usr/bin/env bash\n%s\n' "exec env PYTHONPATH=$(printf %q "$checkout") PYTHONPYCACHEPREFIX=$(printf %q "$home/pycache") \\
    $(printf %q "$venv/bin/python") -P -m client.command_line \"\$@\"" >"$launcher"
chmod 755 "$launcher"
mv "$launcher" "$venv/bin/longshore"

# What is compiled once is kept, and kept out of the checkout.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPATH=$checkout PYTHONPYCACHEPREFIX=$home/pycache
