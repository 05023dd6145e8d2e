"""`python -m llmops.backends.azure.job BUNDLE SHARD OUTPUT`: one shard of a run, on Azure's compute.

It ends with 0 also when lines failed: those are in what it leaves behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmops.backends.azure.job.shard import run_shard
from llmops.errors import LlmopsError

if __name__ == "__main__":
    try:
        run_shard(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    except LlmopsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.exit_code))
