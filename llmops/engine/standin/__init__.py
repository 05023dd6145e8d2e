"""The stand-in model: a deterministic OpenAI-compatible server on 127.0.0.1, which is no real model.

The driver uses `StandInProcess`; the server runs as `python -m llmops.engine.standin`.
"""

from llmops.engine.standin.process import StandInProcess, StandInStats

__all__ = ["StandInProcess", "StandInStats"]
