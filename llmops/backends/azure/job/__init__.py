"""Command jobs: the driver itself, on the compute of a workspace."""
