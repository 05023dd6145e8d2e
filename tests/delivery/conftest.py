"""The checked project of the commands, for packages of it."""

from tests.commands.conftest import checked, shop

__all__ = ["checked", "shop"]
