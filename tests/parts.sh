#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Runs the named parts one after the other and says how long each took. The first part that fails ends the run.
# Nothing is kept outside target/. Tools that are missing are named and, after a question on a terminal, installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/target/tools/bin:$PATH"
nextest_version=0.9.143
deny_version=0.20.2
netns_only='test(/(^|::)netns_/)'

say() { printf '\n== %s\n' "$*"; }
die() { printf 'stopped: %s\n' "$*" >&2; exit 1; }

# install_apt PACKAGE…: names what is missing, asks on a terminal, installs. For build tools only, never for services.
install_apt() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    echo "missing Debian packages: $*"
    if [ -t 0 ] && [ "${CI:-}" != true ]; then
        read -r -p "install them with apt-get? [y/N] " answer
        [ "$answer" = y ] || die "install $* and start again"
    fi
    "${sudo[@]}" apt-get update -q && "${sudo[@]}" apt-get install -q -y --no-install-recommends "$@"
}

# need COMMAND PACKAGE …: pairs; installs the packages of those commands that do not exist.
need() {
    local missing=()
    while [ $# -ge 2 ]; do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] || install_apt "${missing[@]}"
}

part_tools() {
    need cc gcc make make dpkg-deb dpkg apt-get apt systemd-analyze systemd \
        qemu-system-x86_64 qemu-system-x86 diff diffutils setpriv util-linux
    PATH=$PATH:/usr/sbin:/sbin need mke2fs e2fsprogs
    command -v cargo >/dev/null || die "Rust is missing: install rustup, then start again (rust-toolchain.toml names the version)"
    local want have
    want=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    have=$(rustc --version | cut -d' ' -f2) || die "rustup has no toolchain $want: run 'rustup toolchain install'"
    [ "$have" = "$want" ] || die "rustc is $have, rust-toolchain.toml asks for $want"
    echo "rustc $have, $(cc --version | head -1)"
    cargo nextest --version >/dev/null 2>&1 || cargo install --quiet --locked --root target/tools --version "$nextest_version" cargo-nextest
    cargo nextest --version | head -1
}
part_net-tools() {
    need ip iproute2 tc iproute2 unshare util-linux nsenter util-linux dpkg-deb dpkg apt-get apt
    [ "$(id -u)" = 0 ] || die "network namespaces need root: run 'sudo --preserve-env=PATH make test-services'"
    ip netns add "adit-check-$$" || die "this machine lets not even root make a network namespace"
    ip netns del "adit-check-$$"
}
part_format() { cargo fmt --all --check; }
part_lints() { cargo clippy --quiet --workspace --all-targets -- -D warnings; }
part_build() { cargo build --quiet --workspace --bins; }
part_tests() { cargo nextest run --workspace; }
part_doc-tests() { cargo test --quiet --workspace --doc; }
part_netns() { cargo nextest run --workspace --ignore-default-filter --filterset "$netns_only"; }
# Real services in rooms of their own; a part each, so that one can be run alone: bash tests/parts.sh ceph
services() { cargo nextest run --package adit-services --ignore-default-filter --filterset "test(/(^|::)services_$1/)"; }
part_nut() { services nut; }
part_ceph() { services ceph; }
part_gluster() { services gluster; }
part_systemd() { services systemd; }
part_plugins() { services plugins; }
part_updates() { services updates; }
# smartctl and nvme-cli over recorded disks, answered by an ioctl player. Nothing is installed.
part_smartctl() {
    need cc gcc dpkg-deb dpkg
    local dir=$PWD/target/smartctl
    mkdir -p "$dir"
    if [ ! -x "$dir/root/usr/sbin/nvme" ]; then
        (cd "$dir" && apt-get download -q smartmontools nvme-cli libnvme1 && for deb in *.deb; do dpkg -x "$deb" root; done)
    fi
    ADIT_DISK_PROGRAMS=$dir/root cargo nextest run --package adit-device --ignore-default-filter \
        --filterset 'test(/(^|::)services_smartctl_/)'
}

# A room that holds a panic handler does not compile when anything below it brings std, so compiling it is the proof;
# the last line asks for std on purpose and must fail, or the proof proves nothing.
part_no-std() {
    for feature in none log defmt; do
        cargo rustc --quiet --package adit-nostd --lib --features "$feature" -- --cfg no_std_proof
        echo "no_std: adit-wire, adit-proto and adit-slots with $feature"
    done
    if cargo rustc --quiet --package adit-nostd --lib --features std -- --cfg no_std_proof 2>/dev/null; then
        die "the proof of no_std would not notice std"
    fi
}

# Debian's compiler with the source of its core library, and QEMU's Arm machines: unpacked below target/, never installed.
# rustup's toolchains have neither by themselves; its linker takes every target.
bare_metal_tools() {
    local dir=$PWD/target/bare-metal wanted=(rustc-web cargo-web rust-web-src qemu-system-arm) packages
    [ -x "$dir/root/usr/bin/qemu-system-arm" ] && [ -x "$dir/root/usr/bin/rustc" ] && return
    need apt-get apt dpkg-deb dpkg
    mkdir -p "$dir/deb"
    # What they need beyond what this machine has.
    packages=$(apt-get install --print-uris -qq -y --no-install-recommends -o Debug::NoLocking=1 "${wanted[@]}" \
        | sed -n "s/^'[^']*' \([a-z0-9.+-]*\)_.*/\1/p") || die "apt knows no ${wanted[*]}: run 'apt-get update'; Debian 12 has them"
    (cd "$dir/deb" && printf '%s\n' "${wanted[@]}" $packages | sort -u | xargs apt-get download -q)
    for deb in "$dir"/deb/*.deb; do dpkg -x "$deb" "$dir/root"; done
    rm -r "$dir/deb"
}
# On a Cortex-M3 without an operating system: the frozen bytes of the wire, an update, the life of a machine's slots.
part_bare-metal() {
    bare_metal_tools
    local dir=$PWD/target/bare-metal target=thumbv7m-none-eabi linker logger flags
    local usr=$dir/root/usr
    linker=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
    [ -x "$linker" ] || die "rustup's rust-lld is missing: $linker"
    for logger in log defmt; do
        flags="-C link-arg=-Tlink.x"
        [ "$logger" = log ] || flags+=" -C link-arg=-Tdefmt.x"
        env LD_LIBRARY_PATH="$usr/lib/x86_64-linux-gnu" RUSTC="$usr/bin/rustc" RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" DEFMT_LOG=info \
            CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER="$linker" \
            "$usr/bin/cargo" build --quiet --locked --release --target "$target" --manifest-path firmware/bare-metal/Cargo.toml \
            --target-dir "$dir/build" --features "$logger" -Zbuild-std=core -Zbuild-std-features=compiler-builtins-mem
        LD_LIBRARY_PATH="$usr/lib/x86_64-linux-gnu" timeout 120 "$usr/bin/qemu-system-arm" -L "$usr/share/qemu" -M lm3s6965evb \
            -nographic -monitor none -serial none -semihosting -kernel "$dir/build/$target/release/bare-metal" \
            >"$dir/$logger.out" 2>"$dir/$logger.txt" || { cat "$dir/$logger.txt"; die "the program on the Cortex-M failed with $logger"; }
        grep -E '^(wire|slots):' "$dir/$logger.txt"
    done
    [ "$(grep -c '^log: ' "$dir/log.txt")" -gt 0 ] && [ -s "$dir/defmt.out" ] || die "a logger said nothing"
    echo "bare metal: log wrote $(grep -c '^log: ' "$dir/log.txt") lines, defmt $(stat -c %s "$dir/defmt.out") bytes of frames"
}

part_demo() {
    cargo build --release --package aditd --package adit --package adit-contract --bin aditd --bin adit --bin demo
    target/release/demo ${DIR:+"$DIR"}
}
part_bench() {
    cargo build --release --package aditd --package adit --package adit-bench
    target/release/adit-bench ${DIR:+"$DIR"}
}
# Debian's node_exporter and smartctl, unpacked below target/ and never installed; one that cannot be had is skipped.
part_bench-health() {
    local dir=$PWD/target/peers-health
    mkdir -p "$dir"
    if [ ! -x "$dir/root/usr/sbin/smartctl" ]; then
        (cd "$dir" && apt-get download -q prometheus-node-exporter smartmontools && for deb in *.deb; do dpkg -x "$deb" root; done) \
            || echo "the peers cannot be fetched"
    fi
    cargo build --release --package aditd --package adit-bench
    target/release/adit-bench --health
}
part_peers() { bash tests/adit-bench/peers.sh restic borg; }
part_rustic() { bash tests/adit-bench/peers.sh rustic; }
# What health costs over some time: MINUTES=10.
part_soak-health() {
    cargo build --quiet --package aditd --bin aditd
    cargo nextest run --package adit-contract --profile soak --no-capture
}
# An image for virtual machines out of this checkout, with keys made for trying things out.
part_image() {
    local programs keys=$PWD/target/image/keys image=(cargo run --quiet --package adit-image --)
    programs=$(bash images/packages/build-static.sh adit-init aditd adit-probe)
    if [ ! -e "$keys/set" ]; then
        rm -rf "$keys" && mkdir -p "$keys"
        "${image[@]}" keygen root "$keys/root1" && "${image[@]}" keygen root "$keys/root2" && "${image[@]}" keygen signing "$keys/signing"
        "${image[@]}" keyset --number 1 --root "$keys/root1.pub" --root "$keys/root2.pub" --signing "$keys/signing.pub" \
            --with "$keys/root1" --out "$keys/set"
    fi
    local version=${VERSION:-0.1.0} flavour=${FLAVOUR:-vm}
    "${image[@]}" build --programs "$programs" --keys "$keys/set" --version "$version" --flavour "$flavour"
    "${image[@]}" sign "target/image/adit-$version-$flavour-x86_64.adit" --key "$keys/signing"
}
# Built twice from Debian's packages of today, compared, taken apart, signed, and started by UEFI firmware.
part_image-tests() { cargo nextest run --package adit-image --ignore-default-filter --filterset 'test(/(^|::)image_/)'; }
part_deb() { bash images/packages/build-deb.sh; }
# What harness machines boot: Debian's kernel and static programs, into target/hil.
part_hil-guest() { cargo hil prepare; }
part_stories() { cargo nextest run --workspace --profile stories; }
part_hil() { cargo hil run --all; }
part_hil-mutants() { cargo hil mutants; }

# Advisories need a database from the network, so they are looked at by hand: cargo deny check advisories.
part_deny() {
    cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked --root target/tools --version "$deny_version" cargo-deny
    cargo deny --locked --all-features check licenses bans sources
}

part_fuzz() {
    rustc +nightly --version >/dev/null 2>&1 || die "fuzzing needs a nightly toolchain: rustup toolchain install nightly"
    cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked --root target/tools cargo-fuzz
    local dir=$PWD/target/fuzz
    cargo +nightly run --quiet --manifest-path protocol/fuzz/Cargo.toml --target-dir "$dir" --example seeds -- "$dir/corpus"
    for name in $(cargo +nightly fuzz list --fuzz-dir protocol/fuzz); do
        mkdir -p "$dir/artifacts/$name"
        cargo +nightly fuzz run --fuzz-dir protocol/fuzz --target-dir "$dir" "$name" "$dir/corpus/$name" -- \
            -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=512 -verbosity=0 -artifact_prefix="$dir/artifacts/$name/"
        echo "fuzz: $name stood ${SECONDS_EACH:-60} s"
    done
}

started=$SECONDS
times=()
trap '[ -z "${name:-}" ] || printf "\n== %s failed after %s s\n" "$name" $((SECONDS - at)) >&2' EXIT
for name in "$@"; do
    say "$name"
    at=$SECONDS
    "part_$name"
    times+=("$(printf '%-12s %5d s' "$name" $((SECONDS - at)))")
done
name=
[ $# -lt 2 ] || { say "time per part"; printf '%s\n' "${times[@]}"; printf '%-12s %5d s\n' total $((SECONDS - started)); }
