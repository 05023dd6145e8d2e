"""The data plane of prompt flow runs as far as `promptflow-azure` asks."""

from llmops.emulator.data_plane.routes import router

__all__ = ["router"]
