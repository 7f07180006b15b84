#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Fetches the programs that `make bench` measures beside adit into target/peers; the system's own package sources stay
# as they are. restic comes from Debian trixie, borg from PyPI, rustic from crates.io.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peers=$PWD/target/peers
mkdir -p "$peers/bin"

fetch_restic() {
    local apt=$peers/apt mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$apt/sources.list"
    local options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$apt" && apt-get "${options[@]}" download restic)
    dpkg-deb --extract "$apt"/restic_*.deb "$peers/restic"
    ln -sf "$peers/restic/usr/bin/restic" "$peers/bin/restic"
    restic=$("$peers/bin/restic" version) && echo "$restic"
}

fetch_borg() {
    local missing=()
    for package in liblz4-dev libacl1-dev libxxhash-dev libssl-dev libzstd-dev pkg-config; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "borg is built from source and needs: ${missing[*]}"
        apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"
    fi
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet 'borgbackup==1.4.*'
    ln -sf "$peers/venv/bin/borg" "$peers/bin/borg"
    "$peers/bin/borg" --version
}

fetch_rustic() {
    cargo install --locked --root "$peers" --version '^0.11' --target-dir "$peers/rustic-build" rustic-rs
    "$peers/bin/rustic" --version
}

for peer in "$@"; do
    [ -x "$peers/bin/$peer" ] && { echo "$peer: there already"; continue; }
    "fetch_$peer"
done
