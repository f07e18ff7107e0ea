"""Fetches what tasks and pages of history refer to in the payload store, before a core sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from odradek_schemas.common import Record

from .._claims import Claims, has_references
from ..errors import PayloadError

R = TypeVar("R", bound=Record)


class Fetching:
    """`claims` None: there is no store, and everything is passed on as it is. From any thread."""

    def __init__(self, claims: Claims | None) -> None:
        self._claims = claims
        self._lock = threading.Lock()
        self.count = 0
        """How many records are on their way."""

    def open(self, record: R, then: Callable[[R], None], failed: Callable[[PayloadError], None]) -> None:
        """Call `then` with the record and its payloads: at once, or from another thread; or `failed`."""
        if self._claims is None or not has_references(record):
            then(record)
            return
        with self._lock:
            self.count += 1
        self._claims.submit(partial(self._fetch, self._claims, record, then, failed))

    def _fetch(
        self, claims: Claims, record: R, then: Callable[[R], None], failed: Callable[[PayloadError], None]
    ) -> None:
        try:
            fetched = claims.fetch(record)
        except PayloadError as error:
            failed(error)
        else:
            then(fetched)
        finally:
            with self._lock:
                self.count -= 1
