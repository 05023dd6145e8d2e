"""Endpoints that really serve: a router per endpoint, a serving process per deployment."""
