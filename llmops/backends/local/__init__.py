"""The backend that needs nothing but this machine."""
