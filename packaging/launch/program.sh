#!/bin/sh
# NAME of keylease: start its Python isolated from the caller's environment and directory.
# It does not use the caller's PATH. Installers write the path of the interpreter into the first
# line of keylease-start, beside this file; this script reads it there and runs that file.
program=$0
while :; do
  case $program in
    */*) start=${program%/*}/keylease-start ;;
    *) start=./keylease-start ;;
  esac
  # pipx and uv link every program into one directory, so follow the link to find keylease-start.
  [ -f "$start" ] && break
  if ! [ -h "$program" ]; then
    [ -t 2 ] && echo "keylease: error: $start is missing; install keylease again" >&2
    exit 127
  fi
  target=$(command -p readlink "$program") || exit 127
  case $target in
    /*) program=$target ;;
    *) program=${program%/*}/$target ;;
  esac
done
{
  IFS= read -r first
  IFS= read -r second
} <"$start"
python=${first#'#!'}
if [ "$python" = /bin/sh ]; then
  # For a long path, or one with a space, some installers write: '''exec' 'PATH' "$0" "$@"
  python=${second#"'''exec' "}
  python=${python%' "$0" "$@"'}
  python=${python#\'}
  python=${python%\'}
fi
[ -x "$python" ] || python=${python%% *} # distributions add options to the line
if [ -x "$python" ]; then
  exec "$python" -I -S "$start" NAME "$@"
fi
if [ "$first" = '#!/bin/sh' ]; then
  exec "$start" NAME "$@"
fi
[ -t 2 ] && echo "keylease: error: there is no Python at $python; install keylease again" >&2
exit 127
