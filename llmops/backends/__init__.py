"""Where flows run and are served: protocols, a registry, implementations."""
