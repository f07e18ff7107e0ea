"""One run's history as a JSON document: for people to read, and to be replayed elsewhere."""

from __future__ import annotations

import msgspec
from odradek_schemas.history import HistoryEvent

FORMAT = 1


class ExportedHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A run and its events. Bytes of payloads are base64 in the JSON."""

    format: int = FORMAT
    namespace: str = "default"
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    events: list[HistoryEvent]


def history_to_json(history: ExportedHistory) -> str:
    """The document, indented; `history_from_json` reads it back as it was."""
    return msgspec.json.format(msgspec.json.encode(history), indent=2).decode()


def history_from_json(text: str | bytes) -> ExportedHistory:
    """Raises ValueError for what is no exported history, or of a newer format."""
    try:
        history = msgspec.json.decode(text, type=ExportedHistory)
    except msgspec.MsgspecError as error:
        raise ValueError(
            f"this is no exported history ({error}); write one with `odradek workflow export ID`"
        ) from error
    if history.format > FORMAT:
        raise ValueError(f"this history has format {history.format}; a newer Odradek wrote it, upgrade to read it")
    return history
