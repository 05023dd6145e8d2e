"""`llmops schema`: the JSON Schemas of the configuration files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from llmops.config.schema import ROOTS, SCHEMAS, schema_of, schema_text
from llmops.errors import ExitCode, Problem, UsageError


def schema(
    *,
    write: Callable[[str], None],
    kind: str | None = None,
    output: Path | None = None,
    check: bool = False,
    folder: Path = SCHEMAS,
) -> int:
    """Print the schemas, write them, or compare written ones.

    Args:
        kind: one of `ROOTS`; all of them, as one document by kind, when None.
        output: write `KIND.schema.json` into this folder instead of printing.
        check: compare the files of `folder` with what they should be, and print nothing else.
        folder: of written schemas; by default of those that llmops ships.

    Raises:
        UsageError: with `check`, every file that is missing or differs.
    """
    kinds = [kind] if kind else list(ROOTS)
    if check:
        stale = [problem for name in kinds for problem in _compare(folder, name)]
        if stale:
            raise UsageError(*stale)
        write("The schemas are as they should be.")
    elif output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for name in kinds:
            path = output / f"{name}.schema.json"
            path.write_text(schema_text(name), encoding="utf-8", newline="\n")
            write(f"written: {path}")
    elif kind:
        write(schema_text(kind).removesuffix("\n"))
    else:
        write(json.dumps({name: schema_of(name) for name in kinds}, indent=2, ensure_ascii=False))
    return ExitCode.PASS


def _compare(folder: Path, kind: str) -> list[Problem]:
    path = folder / f"{kind}.schema.json"
    fix = f"llmops schema --output {folder}"
    if not path.is_file():
        return [Problem(what="there is no such schema", where=str(path), fix=fix)]
    if path.read_text(encoding="utf-8") != schema_text(kind):
        return [Problem(what="is not the schema of this llmops", where=str(path), fix=fix)]
    return []
