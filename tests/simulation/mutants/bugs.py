"""All planted bugs, by the part of the protocol that they break."""

from . import effects, requests, tasks, told, upgrading, workflows

__all__ = ["effects", "requests", "tasks", "told", "upgrading", "workflows"]
