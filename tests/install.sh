#!/bin/sh
# Debian's packages that some tests need, where that is wanted: install.sh auto|apt|none "tests of ..." PACKAGE ...
# Never fails: without them these tests are skipped, with a line that says why, and what to install.
setup="$1" tests="$2"
shift 2
skipped() {
  echo "memcap: the $tests are skipped: $1"
  exit 0
}
if [ "$setup" != apt ]; then
  remedy="make test SETUP=apt installs $*"
  [ "$setup" = auto ] || skipped "SETUP=$setup installs nothing; $remedy"
  [ -f "${DEBIAN_VERSION_FILE:-/etc/debian_version}" ] || skipped "this is not Debian; install what $* are elsewhere"
  [ "$(id -u)" = 0 ] || skipped "only root may install; $remedy, with sudo"
fi
command -v apt-get >/dev/null || skipped "there is no apt-get here to install $*"
# Who may not without a password is not asked for one.
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
[ -z "$sudo" ] || $sudo true 2>/dev/null || skipped "apt-get needs root or sudo without a password to install $*"
echo "memcap: installing $* for the $tests"
$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null ||
  skipped "$* could not be installed"
