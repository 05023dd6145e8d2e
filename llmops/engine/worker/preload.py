"""Import what every prompt flow needs, before anything of a user's is there."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
from collections.abc import Sequence

SETTINGS = {"PF_LOGGING_LEVEL": "ERROR", "PF_DISABLE_TRACING": "true"}
"""What promptflow reads while it is imported; what the user has set stays."""


_AT_FIRST_CALL = ("promptflow.tools", "openai.resources.chat.completions.completions", "httpcore2", "truststore")
"""What the first line would import otherwise; what is not installed is left out."""


def preload(modules: Sequence[str] = ()) -> None:
    """Import promptflow's executor, the LLM tool and the parts of the openai client, as far as they are installed.

    Args:
        modules: to import beside them.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with contextlib.suppress(ImportError):
        import promptflow.executor  # noqa: F401

        _offer_devkit_names()
        for name in (*_AT_FIRST_CALL, *modules):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def _offer_devkit_names() -> None:
    """Give promptflow-tools the six names that it imports from the devkit, when the devkit is absent."""
    try:
        import promptflow._internal  # noqa: F401
    except ImportError:
        pass
    else:
        return
    from promptflow._core.cache_manager import enable_cache
    from promptflow._core.tool import ToolProvider, tool
    from promptflow._core.tools_manager import register_apis, register_builtins

    internal = types.ModuleType("promptflow._internal")
    vars(internal).update(
        tool=tool,
        ToolProvider=ToolProvider,
        register_apis=register_apis,
        register_builtins=register_builtins,
        enable_cache=enable_cache,
    )
    cli = types.ModuleType("promptflow._cli")
    cli.__path__ = []
    cli_utils = types.ModuleType("promptflow._cli._utils")
    vars(cli_utils).update(get_workspace_triad_from_local=lambda: (None, None, None))
    sys.modules.update({"promptflow._internal": internal, "promptflow._cli": cli, "promptflow._cli._utils": cli_utils})
