"""`python -m llmops.backends.azure.job BUNDLE SHARD OUTPUT [SHARE]`: one shard of a run, on Azure's compute.

SHARE is what it may spend on models, for instance `tokens=5000 usd=0.25`; without it there is no limit. It ends with 0
also when lines failed: those are in what it leaves behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmops.backends.azure.job.shard import run_shard
from llmops.backends.azure.shares import from_text
from llmops.errors import LlmopsError

if __name__ == "__main__":
    try:
        run_shard(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), from_text(" ".join(sys.argv[4:])))
    except LlmopsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.exit_code))
