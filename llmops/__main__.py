"""`python -m llmops`."""

import sys

from llmops.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
