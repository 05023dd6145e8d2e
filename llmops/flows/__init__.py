"""Flow folders: kind, closure, digest, the flow as it stands at another commit."""
