#!/bin/sh
# Run a script with the first Python that llmops supports: $PYTHON when it is set, else one that is found on PATH.
set -eu

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    if supported "$PYTHON"; then
        exec "$PYTHON" "$@"
    fi
    echo "PYTHON=$PYTHON is not a Python of 3.10 to 3.12. Name one that is, or unset PYTHON." >&2
    exit 2
fi
for candidate in python3.12 python3.11 python3.10 python3 python; do
    if supported "$candidate"; then
        exec "$candidate" "$@"
    fi
done
echo "No Python of 3.10 to 3.12 found on PATH. Install one, or name it: make PYTHON=/path/to/python3.12" >&2
exit 2
