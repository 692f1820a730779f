#!/usr/bin/env bash
# Builds the Debian package into target/debian and looks into it. Needs cargo-deb (cargo install cargo-deb) and dpkg.
#
#   packaging/build-deb.sh              builds the program first
#   packaging/build-deb.sh --no-build   takes target/release/mailferry as it is
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
if [ "${1-}" != --no-build ]; then cargo build --locked --release --bin mailferry; fi
packaging/pages.sh "$target/release"
cargo deb --locked --no-build --output "$folder/mailferry.deb"
dpkg-deb --extract "$folder/mailferry.deb" "$folder/root"

# The program and its unit, as they will be there.
"$folder/root/usr/bin/mailferry" --version
test "$("$folder/root/usr/bin/mailferry" check /nonexistent >/dev/null 2>&1 || echo $?)" = 78
if command -v systemd-analyze >/dev/null; then
    install -D /bin/sh "$folder/root/bin/sh" # which the unit calls
    # One line is expected before systemd 253, which does not know notify-reload.
    said=$(systemd-analyze verify --root "$folder/root" --man=no --recursive-errors=no mailferry.service mailferry.socket 2>&1 | grep -v ': notify-reload$' || true)
    if [ -n "$said" ]; then echo "$said" >&2; exit 1; fi
    systemd-analyze security --offline=yes --threshold=20 "$folder/root/usr/lib/systemd/system/mailferry.service"
fi
# What people and shells read of it.
for page in mailferry mailferry-run mailferry-status; do test -s "$folder/root/usr/share/man/man1/$page.1.gz"; done
for file in bash-completion/completions/mailferry zsh/vendor-completions/_mailferry fish/vendor_completions.d/mailferry.fish \
    doc/mailferry/examples/proxy.toml; do
    test -s "$folder/root/usr/share/$file"
done
mkdir -p target/debian
name=$(dpkg-deb --show --showformat '${Package}_${Version}_${Architecture}.deb' "$folder/mailferry.deb")
mv "$folder/mailferry.deb" "target/debian/$name"
echo "target/debian/$name"
