"""Images that rows name by path, as prompt flow encodes them: `{"data:image/png;path": "red.png"}`.

A path is relative to the folder of the data file.
Source: https://microsoft.github.io/promptflow/how-to-guides/develop-a-dag-flow/process-image-in-flow.html
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_BY_PATH = re.compile(r"data:image/[^;]+;path")


def image_paths(value: Any) -> Iterator[str]:
    """Yield the paths of the images in a row, or in any value of one, in order."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and _BY_PATH.fullmatch(key):
                yield item
            else:
                yield from image_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from image_paths(item)


def with_places(value: Any, folder: Path) -> Any:
    """Return a value with absolute paths of its images; a path that leads to no file is left as it is."""
    return _replaced(value, folder, lambda key, path: (key, str(path.resolve())))


def with_content(value: Any, folder: Path) -> Any:
    """Return a value with its images themselves, in base64; a path that leads to no file is left as it is."""
    return _replaced(
        value,
        folder,
        lambda key, path: (f"{key.removesuffix('path')}base64", base64.b64encode(path.read_bytes()).decode("ascii")),
    )


def with_digests(value: Any, folder: Path) -> Any:
    """Return a value with the digests of its images in the place of their paths: equal values mean equal images.

    A path that leads to no file is left as it is.
    """
    return _replaced(value, folder, lambda key, path: (key, image_digest(path)))


def image_digest(path: Path) -> str:
    """Return `sha256:` and 64 hexadecimal digits over the bytes of a file."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _replaced(value: Any, folder: Path, change: Callable[[str, Path], tuple[str, str]]) -> Any:
    if isinstance(value, list):
        return [_replaced(item, folder, change) for item in value]
    if not isinstance(value, dict):
        return value
    return dict(
        change(key, folder / item)
        if isinstance(item, str) and _BY_PATH.fullmatch(key) and (folder / item).is_file()
        else (key, _replaced(item, folder, change))
        for key, item in value.items()
    )
