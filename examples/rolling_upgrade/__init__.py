"""A rolling upgrade: the code of a workflow is changed while some of its runs are open.

The workflow as it was (v1), with the change beside the old code (v2), and when the old runs have ended (v3).
"""

from .v2 import Payment

__all__ = ["Payment"]
