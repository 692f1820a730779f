#!/bin/sh
# Stands for a mail delivery agent: writes its input to FOLDER/1, FOLDER/2, …: deliver.sh FOLDER
set -e
number=1
while [ -e "$1/$number" ]; do number=$((number + 1)); done
exec cat >"$1/$number"
