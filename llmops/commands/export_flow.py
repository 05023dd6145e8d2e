"""`llmops export`: write a flow as a ZIP file that the studio's upload takes."""

from __future__ import annotations

from pathlib import Path

from llmops.commands.context import Context
from llmops.commands.lint import find_lint_root
from llmops.errors import ExitCode, UsageError
from llmops.flows.archive import write_package
from llmops.flows.closure import IMPORTED, Closure, find_closure
from llmops.flows.folder import read_flow_in, relative_to
from llmops.flows.tree import FileTree, WorkingTree, read


def export_flow(*, context: Context, flow: str, output: Path | None = None) -> int:
    """Write a flow's files as a ZIP.

    Args:
        flow: folder or file of the flow, relative to the project.
        output: the ZIP file; `NAME.zip` where the user is when None.

    Raises:
        UsageError: there is no such flow, or its files cannot be collected.
    """
    tree = WorkingTree(find_lint_root(context.folder))
    closure = find_closure(tree, read_flow_in(tree, relative_to(tree.top / tree.prefix, flow)))
    files = package_files(tree, closure)
    path = output or context.folder / f"{Path(closure.flow.path).name or 'flow'}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_package(files))
    context.write(f"written: {path} ({len(files)} files)")
    if any(source.origin == "included" for source in closure.files.values()):
        context.write(
            "note: additional_includes stand beside the flow in the ZIP; remove them from the definition there"
        )
    return ExitCode.PASS


def package_files(tree: FileTree, closure: Closure) -> dict[str, bytes]:
    """Read the files of a flow as a ZIP holds them: includes and imported packages beside the flow's own.

    Raises:
        UsageError: an imported package has the name of a file of the flow.
    """
    files = {name: read(tree, source.path) for name, source in closure.files.items() if not name.startswith(IMPORTED)}
    for name, source in closure.files.items():
        if name.startswith(IMPORTED):
            beside = name.removeprefix(IMPORTED).removeprefix("src/")
            if files.setdefault(beside, read(tree, source.path)) != read(tree, source.path):
                raise UsageError.of("two files would have one name in the ZIP", where=closure.flow.path, found=beside)
    return files
