"""The error of a storage."""

from __future__ import annotations


class StorageError(Exception):
    """A state's storage cannot be read or written: no record is to blame, so none is decided on without it."""
