"""All bugs, by importing the modules that declare them."""

from . import of_engines, of_logs, of_states, of_workers

__all__ = ["of_engines", "of_logs", "of_states", "of_workers"]
