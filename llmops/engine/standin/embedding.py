"""Deterministic text embeddings by feature hashing."""

from __future__ import annotations

import base64 as codec
import math
import struct
import zlib

from llmops.engine.standin.similarity import features

DIMENSIONS = 256


def embed(text: str, *, base64: bool = False) -> list[float] | str:
    """Hash the features of a text into a vector of length 1 with 256 numbers; an empty text gives zeros.

    Args:
        text: may be in any language.
        base64: return little-endian 32-bit floats in base64, which the openai client asks for.

    Source: the signed hashing trick, Weinberger et al. (2009).
    """
    vector = [0.0] * DIMENSIONS
    for feature, weight in features(text).items():
        code = zlib.crc32(feature.encode("utf-8"))
        vector[code % DIMENSIONS] += weight if code >> 31 else -weight
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    vector = [number / length for number in vector]
    return codec.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode("ascii") if base64 else vector
