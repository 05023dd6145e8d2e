"""Judge flows without running them: one module per family of rules."""
