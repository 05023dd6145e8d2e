"""Score the lines of a run."""
