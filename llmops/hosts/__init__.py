"""The place a command runs in: a terminal, GitHub Actions, Azure Pipelines."""
