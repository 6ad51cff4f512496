#!/bin/sh
# Makes sure that the browser tests can run: Playwright's driver starts, and there is a browser: one that is installed,
# else Playwright's own, else Debian's where we may install it.
set -eu
python=${PYTHON:-python3}

driver() { "$python" -m playwright --version >/dev/null 2>&1; }
found() { "$python" -c 'import sys; from tests.browser import find_browser; sys.exit(find_browser() is None)' 2>/dev/null; }
may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
fetch() { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
fail() { echo "$1" >&2; exit 1; }

if ! driver; then # a bare Debian lacks one library that the driver links
    may_install && fetch libatomic1
    driver || fail "Playwright's driver does not start; install the package libatomic1 and call make test again."
fi
found && exit 0
"$python" -m playwright install chromium >/dev/null 2>&1 && found && exit 0
may_install && fetch chromium && found && exit 0
fail "The browser tests need Chromium and none could be installed; install the package chromium and call make test again."
