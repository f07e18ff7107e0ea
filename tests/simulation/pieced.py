"""Completions that came in pieces: none may take effect but one of which all pieces are in the log."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from odradek_schemas import records

from .stdlib import decoded


class Pieces:
    """All pieces that came into a partition, whatever the fold did with them."""

    def __init__(self) -> None:
        self._came: dict[str, dict[int, bytes]] = defaultdict(dict)

    def add(self, body: Any) -> None:
        if isinstance(body, records.CompletionPiece):
            self._came[body.id].setdefault(body.index, body.piece)

    def problem(self, completion_id: str, body: Any) -> str:
        """What is wrong about a record that has made a completion take effect; empty if nothing is."""
        if not isinstance(body, records.CompletionPiece):
            return ""
        came = self._came[completion_id]
        if body.id != completion_id or sorted(came) != list(range(body.count)):
            return f"piece {body.index} of {body.id} made {completion_id} take effect, of which {sorted(came)} came"
        whole = decoded(b"".join(came[index] for index in range(body.count)))
        if not isinstance(whole, records.WorkflowTaskCompleted) or whole.id != completion_id:
            return f"the pieces of {completion_id} are {whole}"
        return ""
