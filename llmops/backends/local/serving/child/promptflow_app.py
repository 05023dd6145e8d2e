"""Prompt flow's own serving app, the one that Azure runs too, from promptflow-core alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_CHOSEN = "llmops.flow.dag.yaml"


def load(message: dict[str, Any]) -> Any:
    """Build the app; whatever the flow raises while it loads goes to the router."""
    os.environ.setdefault("PF_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PF_DISABLE_TRACING", "true")
    folder = Path(message["folder"])
    os.environ["PROMPTFLOW_PROJECT_PATH"] = str(folder)
    _prepare_promptflow(message)
    from promptflow.core._serving.app import create_app

    return create_app(engine="fastapi", extension_type="local", flow_file_path=str(_choose_variants(folder, message)))


def _prepare_promptflow(message: dict[str, Any]) -> None:
    """Offer the devkit's names, connections and variables exactly as the worker does."""
    from _llmops_worker import promptflow_flow as worker
    from _llmops_worker import surroundings

    surroundings.enter(message)
    worker._offer_devkit_names()
    definition = worker._definition(Path(message["folder"]) / message["flow_file"], message["variants"])
    variables = {**definition.get("environment_variables", {}), **message["environment_variables"]}
    surroundings.set_environment(variables, message["connections"])
    worker._require_llm_tool(definition)
    _offer_connections({name: worker._connection(name, value) for name, value in message["connections"].items()})


def _offer_connections(connections: dict[str, Any]) -> None:
    """Answer promptflow's questions for connections from memory.

    Its default provider needs the devkit; the one over HTTP would send secrets through whatever proxy is set.
    """
    from promptflow.core._connection_provider._connection_provider import ConnectionProvider
    from promptflow.core._connection_provider._dict_connection_provider import DictConnectionProvider

    ConnectionProvider._instance = DictConnectionProvider(connections)


def _choose_variants(folder: Path, message: dict[str, Any]) -> Path:
    """Write the definition with the chosen variants beside the original: its folder is where paths start."""
    if not message["variants"]:
        return folder / str(message["flow_file"])
    from _llmops_worker import promptflow_flow as worker

    definition = worker._definition(folder / message["flow_file"], message["variants"])
    path = folder / _CHOSEN
    path.write_text(json.dumps(definition, default=str), encoding="utf-8")
    return path
