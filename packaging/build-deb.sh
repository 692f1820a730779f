#!/usr/bin/env bash
# Builds the Debian package into target/debian and looks into it. Needs cargo-deb (cargo install cargo-deb) and dpkg.
#
#   packaging/build-deb.sh              builds the program first
#   packaging/build-deb.sh --no-build   takes target/release/mailferry as it is
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo deb --locked --output "$folder/mailferry.deb" "$@"
dpkg-deb --extract "$folder/mailferry.deb" "$folder/root"

# The program and its unit, as they will be there.
"$folder/root/usr/bin/mailferry" --version
test "$("$folder/root/usr/bin/mailferry" check /nonexistent >/dev/null 2>&1 || echo $?)" = 78
if command -v systemd-analyze >/dev/null; then
    install -D /bin/sh "$folder/root/bin/sh" # which the unit calls
    # One line is expected before systemd 253, which does not know notify-reload.
    said=$(systemd-analyze verify --root "$folder/root" --man=no --recursive-errors=no mailferry.service 2>&1 | grep -v ': notify-reload$' || true)
    if [ -n "$said" ]; then echo "$said" >&2; exit 1; fi
    systemd-analyze security --offline=yes --threshold=20 "$folder/root/usr/lib/systemd/system/mailferry.service"
fi
mkdir -p target/debian
name=$(dpkg-deb --show --showformat '${Package}_${Version}_${Architecture}.deb' "$folder/mailferry.deb")
mv "$folder/mailferry.deb" "target/debian/$name"
echo "target/debian/$name"
