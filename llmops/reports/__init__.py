"""Render a verdict for people and machines."""
