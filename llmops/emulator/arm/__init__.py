"""The control plane: Azure Resource Manager as far as `azure-ai-ml` asks."""

from llmops.emulator.arm.routes import router

__all__ = ["router"]
