"""Runs in the container of a plain Python flow, never here."""
