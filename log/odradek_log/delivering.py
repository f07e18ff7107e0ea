"""Appends that are kept to be made later, and telling a sender what became of one."""

from __future__ import annotations

import logging
from typing import NamedTuple

from .protocol import LogError, OnDelivery

logger = logging.getLogger("odradek.log")


class Send(NamedTuple):
    """One append, as it was asked for."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    on_delivery: OnDelivery | None


def report(on_delivery: OnDelivery | None, offset: int, error: LogError | None) -> None:
    """Call back, if somebody wants it. What the callback raises is logged: it must not stop the thread that calls."""
    if on_delivery is None:
        return
    try:
        on_delivery(offset, error)
    except Exception:
        logger.exception("a delivery callback failed")
