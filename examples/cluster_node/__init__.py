"""The life of a cluster's nodes: one workflow adds them, which takes long; another removes them, and displaces it."""

from .workflows import AddNode, DeleteNode

__all__ = ["AddNode", "DeleteNode"]
