"""All of `odradek workflow`, put together from its parts."""

from __future__ import annotations

from . import batch, messages, operations, replaying
from .workflow import app

app.command()(replaying.export)
app.command()(replaying.replay)
messages.add_to(app)
operations.add_to(app)
batch.add_to(app)

__all__ = ["app"]
