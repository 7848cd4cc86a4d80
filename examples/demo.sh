#!/bin/sh
# The demo: starts a server in the background, makes a git repository of examples/digits, runs it in an
# environment of its own, follows its log, and ends with a plot and the address of its page.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${SEAFLOOR:=seafloor}" "${DEMO:=$PWD/.demo}"
repository=$DEMO/repositories/digits
mkdir -p "$DEMO"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "1/5 the server"
# The data folder names the server: every command below finds it there.
export SEAFLOOR_DATA="$DEMO/data"
"$SEAFLOOR" up --detach

say "2/5 a git repository with a training script"
rm -rf "$repository"
mkdir -p "$(dirname "$repository")"
cp -R "$here/digits" "$repository"
git -C "$repository" init --quiet --initial-branch=main
git -C "$repository" add --all
git -C "$repository" -c user.name=Seafloor -c user.email=demo@example.com \
  commit --quiet --message "Train a classifier of handwritten digits"
git -C "$repository" log --oneline --max-count=1

say "3/5 an environment, locked and shared by every run that asks for it"
"$SEAFLOOR" env create digits -r "$repository/requirements.txt"

say "4/5 the run, with its log"
"$SEAFLOOR" run -f "$repository/seafloor.yaml" --git "$repository"

say "5/5 its metrics"
"$SEAFLOOR" metrics @last --plot train/loss val/accuracy tb/loss tb/accuracy
"$SEAFLOOR" artifacts list @last
"$SEAFLOOR" runs show @last
