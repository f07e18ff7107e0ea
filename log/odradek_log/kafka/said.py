"""What librdkafka logs, for people: not the same line again and again.

While a broker is away each client says so several times a second, and before it is known who leads a topic, for each
partition. And the settings of an address go to producers and consumers, each of which remarks on those of the other.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

EVERY_S = 10.0
"""How long a line is not said again."""

_REMEMBERED = 1_000
_VARIES = re.compile(r"rdkafka#\w+-\d+|\(after .*|\[\d+\]|timeout #\d+|\([\w-]{22}\)")
"""Who says it, how long it took, the partition, the ID of the topic."""
_OF_ANOTHER = re.compile(r"is a (consumer|producer) property and will be ignored by this (consumer|producer) instance")


class Seldom(logging.Filter):
    """Lets a line through once in `EVERY_S` seconds, with how many like it were left out meanwhile. From any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if _OF_ANOTHER.search(text):
            return False
        line, now = _VARIES.sub("", text), self._clock()
        with self._lock:
            since, left_out = self._said.get(line, (now - EVERY_S, 0))
            if now - since < EVERY_S:
                self._said[line] = since, left_out + 1
                return False
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            self._said[line] = now, 0
        if left_out:
            record.msg, record.args = f"{text} ({left_out} more like this since the last one)", ()
        return True


_SELDOM = Seldom()


def rdkafka_logger() -> logging.Logger:
    """For librdkafka's clients."""
    logger = logging.getLogger("odradek.log.kafka")
    logger.addFilter(_SELDOM)
    return logger
