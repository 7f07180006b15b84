#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds target/deb/adit_VERSION_ARCH.deb: static binaries, units, configuration. The same source gives the same bytes.
# BINARIES=DIR takes binaries from there instead of building them; OUTPUT=DIR puts the package elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=images/packages
output=${OUTPUT:-target/deb}
agent_bytes_max=$((9 * 1024 * 1024)) # 8 MiB of them with the backup alone; keeping, cleaning and healing the store took the rest
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
arch=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

if [ -z "${BINARIES:-}" ]; then
    BINARIES=$(bash $here/build-static.sh aditd adit adit-probe adit-monitor)
    for binary in adit aditd adit-probe adit-monitor; do
        echo "$binary: $(stat -c %s "$BINARIES/$binary") bytes, static"
    done
    # A box has little room: the agent must stay below this.
    [ "$(stat -c %s "$BINARIES/aditd")" -le "$agent_bytes_max" ] || { echo "aditd is larger than $agent_bytes_max bytes" >&2; exit 1; }
fi

mkdir -p "$output"
stage=$(mktemp -d "$output/stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
put() { install -D -m "$1" "$2" "$stage/$3"; } # MODE FILE PLACE
put 755 "$BINARIES/adit" usr/bin/adit
put 755 "$BINARIES/aditd" usr/bin/aditd
put 755 "$BINARIES/adit-probe" usr/bin/adit-probe
put 755 "$BINARIES/adit-monitor" usr/bin/adit-monitor
# The plugin for Icinga and Nagios is adit under a second name.
mkdir -p "$stage/usr/lib/nagios/plugins" && ln -s ../../../bin/adit "$stage/usr/lib/nagios/plugins/check_adit"
for unit in aditd.service adit-probe.socket adit-probe.service adit-backup.service adit-backup.timer adit-poweroff.path adit-poweroff.service adit-monitor.service; do put 644 $here/systemd/$unit usr/lib/systemd/system/$unit; done
put 644 $here/systemd/adit.sysusers usr/lib/sysusers.d/adit.conf
put 644 $here/systemd/adit.tmpfiles usr/lib/tmpfiles.d/adit.conf
put 644 $here/etc/aditd.toml etc/adit/aditd.toml
put 644 $here/etc/adit-monitor.toml etc/adit/adit-monitor.toml
for file in icinga2.conf prometheus.rules.yml grafana-dashboard.json; do put 644 $here/monitoring/$file "usr/share/adit/$file"; done
put 644 $here/etc/adit-backup etc/default/adit-backup
put 644 $here/copyright usr/share/doc/adit/copyright
for document in README.md CHANGELOG.md SECURITY.md SPECIFICATION.md docs/monitor.md LICENSES/MIT.txt; do put 644 $document "usr/share/doc/adit/${document##*/}"; done
find "$stage" -mindepth 1 -type d -exec chmod 755 {} + && chmod 755 "$stage"

size_kib=$(find "$stage" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
sums=$(cd "$stage" && find usr etc -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum)
put 755 $here/postinst DEBIAN/postinst
echo "$sums" > "$stage/DEBIAN/md5sums"
printf '%s\n' /etc/adit/aditd.toml /etc/adit/adit-monitor.toml /etc/default/adit-backup > "$stage/DEBIAN/conffiles"
cat > "$stage/DEBIAN/control" <<CONTROL
Package: adit
Version: $version
Architecture: $arch
Maintainer: The adit authors <adit@localhost>
Installed-Size: $size_kib
Section: admin
Priority: optional
Recommends: systemd
Description: off-site backups on a box that cannot read them
 adit sends encrypted, deduplicated backups over IPv6 to a box in somebody's
 home, and reports the health of both. This package holds the agent (aditd),
 its device helper (adit-probe), the tool (adit), the monitor of a fleet
 (adit-monitor) and their systemd units; nothing is started by itself.
CONTROL
chmod 644 "$stage"/DEBIAN/{md5sums,conffiles,control}
find "$stage" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
package=$output/adit_${version}_$arch.deb
dpkg-deb --build --root-owner-group -Zxz "$stage" "$package" > /dev/null
echo "$package"
