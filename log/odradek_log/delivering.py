"""Telling a sender what became of its append."""

from __future__ import annotations

import logging

from .protocol import LogError, OnDelivery

logger = logging.getLogger("odradek.log")


def report(on_delivery: OnDelivery | None, offset: int, error: LogError | None) -> None:
    """Call back, if somebody wants it. What the callback raises is logged: it must not stop the thread that calls."""
    if on_delivery is None:
        return
    try:
        on_delivery(offset, error)
    except Exception:
        logger.exception("a delivery callback failed")
