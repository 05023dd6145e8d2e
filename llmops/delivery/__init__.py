"""Delivery over any backend: packages and their proofs, and rollouts that are applied step by step."""
