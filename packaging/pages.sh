#!/usr/bin/env bash
# Has a mailferry write its man pages and completions for shells beside itself, where the package takes them from.
#
#   packaging/pages.sh FOLDER   FOLDER/mailferry → FOLDER/man/*.1.gz, FOLDER/completions/{mailferry,_mailferry,mailferry.fish}
set -euo pipefail
folder=${1:?usage: $0 FOLDER}

rm -rf "$folder/man" "$folder/completions"
mkdir -p "$folder/man" "$folder/completions"
"$folder/mailferry" man "$folder/man"
gzip -9n "$folder"/man/*.1
"$folder/mailferry" completions bash >"$folder/completions/mailferry"
"$folder/mailferry" completions zsh >"$folder/completions/_mailferry"
"$folder/mailferry" completions fish >"$folder/completions/mailferry.fish"
