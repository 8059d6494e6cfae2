#!/bin/sh
# Debian's packages that some tests need, where that is wanted: install.sh auto|apt|none "tests of ..." PACKAGE ...
# Never fails: without them these tests are skipped, with a line that says what to install.
setup="$1" tests="$2"
shift 2
case "$setup" in
  auto) [ -f "${DEBIAN_VERSION_FILE:-/etc/debian_version}" ] && [ "$(id -u)" = 0 ] || exit 0 ;;
  apt) ;;
  *) exit 0 ;;
esac
command -v apt-get >/dev/null || exit 0
echo "memcap: installing $* for the $tests"
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null ||
  echo "memcap: they could not be installed; the $tests are skipped"
exit 0
