"""Hashed requirements files that `llmops setup` installs."""
