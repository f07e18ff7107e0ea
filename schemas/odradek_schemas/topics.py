"""The names of a namespace's topics."""

from __future__ import annotations

import hashlib
import re

_MAX_TOPIC_NAME = 249
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class InvalidNameError(ValueError):
    """A namespace or task queue has a name that no topic can carry."""


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can be part of a topic's name; raise InvalidNameError otherwise."""
    if not _NAME.fullmatch(name):
        raise InvalidNameError(f"{kind} {name!r}: use 1 to 100 of the characters a-z A-Z 0-9 . _ -")
    return name


class Topics:
    """Topic names of one namespace, `odradek.<namespace>.<topic>`."""

    def __init__(self, namespace: str = "default") -> None:
        self.namespace = check_name("namespace", namespace)
        if "." in namespace:  # namespace a.workflow-tasks would share topics with namespace a
            raise InvalidNameError(f"namespace {namespace!r}: use a - or _ instead of the dot")
        self.prefix = f"odradek.{namespace}."
        self.events = self.prefix + "events"
        self.ephemeral = self.prefix + "ephemeral"
        self.replies = self.prefix + "replies"
        self.history = self.prefix + "history"
        self.dead_letters = self.prefix + "dead-letters"

    def workflow_tasks(self, queue: str, build_id: str = "") -> str:
        """The topic of a task queue's workflow tasks; with a build ID, of those for workers of that build."""
        return self._tasks("workflow", queue, build_id)

    def activity_tasks(self, queue: str, build_id: str = "") -> str:
        """The topic of a task queue's activity tasks; with a build ID, of those for workers of that build."""
        return self._tasks("activity", queue, build_id)

    def _tasks(self, kind: str, queue: str, build_id: str) -> str:
        """The queue's length keeps queue `a` with build `b.c` apart from queue `a.b` with build `c`; a name that is
        too long for Kafka is a digest, which has no dot."""
        if not build_id:
            return f"{self.prefix}{kind}-tasks.{queue}"
        name = f"{self.prefix}{kind}-builds.{len(queue)}.{queue}.{build_id}"
        if len(name) <= _MAX_TOPIC_NAME:
            return name
        digest = hashlib.blake2b(f"{queue}/{build_id}".encode(), digest_size=20).hexdigest()
        return f"{self.prefix}{kind}-builds.{digest}"
