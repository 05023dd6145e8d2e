"""The serving process of one deployment; started by path, so that it runs in a flow's own interpreter."""
