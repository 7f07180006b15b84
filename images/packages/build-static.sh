#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds the named packages as static release binaries and writes the folder they lie in. The Debian package and the
# harness both build here, so that a machine of the harness runs the very bytes that a user would.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=$(rustc -vV | sed -n 's/^host: //p')
flags="[\"-Ctarget-feature=+crt-static\", \"--remap-path-prefix=$PWD=adit\", \"--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo\"]"
cargo build --release --locked --target "$target" --config "target.$target.rustflags=$flags" "${@/#/--package=}" >&2
binaries=${CARGO_TARGET_DIR:-target}/$target/release
for binary in "$@"; do
    if ldd "$binaries/$binary" 2>/dev/null | grep -q '=>'; then echo "$binary is not static" >&2; exit 1; fi
done
echo "$binaries"
