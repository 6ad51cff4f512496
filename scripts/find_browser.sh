#!/bin/sh
# Makes sure that the browser tests find a browser: one that is there, else Playwright's own, else Debian's where we may install it.
set -eu
python=${PYTHON:-python3}

found() { "$python" -c 'import sys; from tests.browser import find_browser; sys.exit(find_browser() is None)' 2>/dev/null; }

found && exit 0
echo "No browser yet; trying Playwright's own." >&2
"$python" -m playwright install chromium >/dev/null 2>&1 && found && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's chromium." >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
    found && exit 0
fi
echo "The browser tests need Chromium and none could be installed; install the package chromium and call make test again." >&2
exit 1
