#!/bin/sh
# Debian's Chromium and its driver for the tests of the page, where that is wanted: install_browser.sh auto|apt|none.
# Never fails: without a browser these tests are skipped, with a line that says what to install.
case "$1" in
  auto) [ -f "${DEBIAN_VERSION_FILE:-/etc/debian_version}" ] && [ "$(id -u)" = 0 ] || exit 0 ;;
  apt) ;;
  *) exit 0 ;;
esac
command -v apt-get >/dev/null || exit 0
echo "memcap: installing chromium and chromium-driver for the tests of the page"
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null ||
  echo "memcap: they could not be installed; the tests of the page are skipped"
exit 0
