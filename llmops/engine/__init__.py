"""Run lines through flows: scheduler, line cache, worker process, stand-in model."""
