from shared_code.runner import run

__all__ = ["run"]
