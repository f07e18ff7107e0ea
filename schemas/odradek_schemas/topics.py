"""The names of a namespace's topics."""

from __future__ import annotations

import re

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

    def workflow_tasks(self, queue: str) -> str:
        """The topic of a task queue's workflow tasks."""
        return f"{self.prefix}workflow-tasks.{queue}"

    def activity_tasks(self, queue: str) -> str:
        """The topic of a task queue's activity tasks."""
        return f"{self.prefix}activity-tasks.{queue}"
