#!/bin/sh
# Install the system packages that tests need, where we may; else name the command.
set -eu

if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing chromium, which the report tests open pages with" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "chromium is not installed, so the report tests that open pages are skipped: sudo apt-get install chromium" >&2
