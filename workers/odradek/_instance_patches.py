"""Patches of one running workflow: which changes of the code its run has (`patched`, `deprecate_patch`).

What a run answers for a change is decided at the first call, and holds for the run. Live code has the change, and
history keeps a mark. Replayed code has it if a task up to the replayed one holds the mark: a run that passed here
before the change was made has none, and goes on as it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from odradek_schemas import commands
from odradek_schemas.history import CommandSummary

from ._instance_core import InstanceCore

MARK, DEPRECATED_MARK = commands.MarkPatch.__name__, commands.DeprecatePatch.__name__


class InstancePatches:
    """`deprecated`: the changes for which the code has called `deprecate_patch` so far. A mark is held once a run."""

    def __init__(self, core: InstanceCore) -> None:
        self._core = core
        self._answers: dict[str, bool] = {}
        self._held: set[str] = set()
        self._replayed: set[str] = set()
        self.deprecated: set[str] = set()

    def hold(self, summaries: Iterable[CommandSummary]) -> None:
        """The task that is replayed next has given these commands: note their marks."""
        self._held |= self._replayed
        self._replayed = {summary.name for summary in summaries if summary.kind in (MARK, DEPRECATED_MARK)}

    def patched(self, change_id: str) -> bool:
        """Whether this run has the change."""
        return self._decide(commands.MarkPatch(patch_id=change_id))

    def deprecate(self, change_id: str) -> None:
        """No run without the change is left."""
        self.deprecated.add(change_id)
        self._decide(commands.DeprecatePatch(patch_id=change_id))

    def _decide(self, mark: commands.MarkPatch | commands.DeprecatePatch) -> bool:
        loop = self._core.loop
        if loop.read_only:
            raise loop.refuse_write()
        change = mark.patch_id
        answer = self._answers.get(change)
        if answer is None:
            if not loop.quiet:  # what was replayed lies behind
                self.hold(())
            answer = self._answers[change] = not loop.quiet or change in self._held or change in self._replayed
            if answer and change not in self._held:
                self._core.emit(mark)
        return answer


def without_settled_marks(
    held: Sequence[CommandSummary], asked: Sequence[CommandSummary], deprecated: set[str]
) -> tuple[list[CommandSummary], list[CommandSummary]]:
    """What is left to compare of a task's commands: without the marks on which history and code agree.

    They agree on a mark that both have, wherever in the task, and on any that one of them has deprecated: a mark in
    history of what the code deprecates by now, a deprecated one in history that the code does not name any more. What
    is left is a mark that only one side has, which is a difference like any other.
    """
    marks_held = {one.name for one in held if one.kind in (MARK, DEPRECATED_MARK)}
    marks_asked = {one.name for one in asked if one.kind in (MARK, DEPRECATED_MARK)}
    settled = (marks_held & marks_asked) | deprecated

    def left(summaries: Sequence[CommandSummary]) -> list[CommandSummary]:
        return [
            one
            for one in summaries
            if one.kind != DEPRECATED_MARK and not (one.kind == MARK and one.name in settled)
        ]

    return left(held), left(asked)
