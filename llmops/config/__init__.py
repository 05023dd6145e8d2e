"""Experiments and environments: schemas, loading, overlays, frozen values."""
