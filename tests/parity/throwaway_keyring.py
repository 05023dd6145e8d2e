"""A keyring for promptflow, which will not store a connection without one: a fixed key, for keys that are none."""

from __future__ import annotations

import base64

from keyring.backend import KeyringBackend  # in the environment that holds all of promptflow


class ThrowawayKeyring(KeyringBackend):  # type: ignore[misc]
    """Knows one password, whoever asks."""

    priority = 1

    def get_password(self, service: str, username: str) -> str:
        """Return a Fernet key that protects nothing."""
        return base64.urlsafe_b64encode(b"a key that protects nothing.....").decode()

    def set_password(self, service: str, username: str, password: str) -> None:
        """Forget it."""

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""
