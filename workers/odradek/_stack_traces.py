"""Stack traces as people want them: from their own code on, without the frames that led there."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException
from typing import cast

from .errors import OdradekError

_OWN_FOLDERS = (str(Path(__file__).parent), str(Path(asyncio.__file__).parent))


def stack_trace_of(error: BaseException) -> str:
    """Where an error was raised, most recent call last; of a group, the errors in it too."""
    if isinstance(error, BaseExceptionGroup):
        found = TracebackException.from_exception(cast(BaseException, error))
        _trim(found)
        return "".join(found.format())
    return "".join(traceback.format_list(_shown(type(error), traceback.extract_tb(error.__traceback__))))


def user_frames(frames: list[FrameSummary]) -> list[FrameSummary]:
    """The frames from the first one on that is neither of this package nor of asyncio; all of them, if none is."""
    for index, frame in enumerate(frames):
        if not frame.filename.startswith(_OWN_FOLDERS):
            return frames[index:]
    return frames


def _shown(kind: type[BaseException] | None, frames: list[FrameSummary]) -> list[FrameSummary]:
    """The frames from the user's on. Our own errors that did not come through user code say all in their message."""
    shown = user_frames(frames)
    ours = bool(shown) and shown[0].filename.startswith(_OWN_FOLDERS)
    return [] if ours and kind is not None and issubclass(kind, OdradekError) else shown


def _trim(error: TracebackException) -> None:
    waiting: list[TracebackException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None:
            one.stack = StackSummary.from_list(_shown(one.exc_type, one.stack))
            waiting += [one.__cause__, one.__context__, *(one.exceptions or ())]
