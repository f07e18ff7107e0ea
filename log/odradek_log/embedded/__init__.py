"""The embedded log: a folder, one process, no services."""

from __future__ import annotations

from .log import EmbeddedLog

__all__ = ["EmbeddedLog"]
