"""All planted bugs, by the part of the protocol that they break."""

from . import effects, pieces, requests, tasks, told, upgrading, workflows

__all__ = ["effects", "pieces", "requests", "tasks", "told", "upgrading", "workflows"]
