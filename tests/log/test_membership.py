"""Consumer groups as plain values."""

from __future__ import annotations

from odradek_log.membership import Group


def test_a_member_that_is_expelled_while_it_gives_something_up_learns_of_it() -> None:
    """Found by the simulation: it took nothing after that, was told of no further change, and read on for ever what was
    another's by then."""
    group = Group("g", lambda topic: 4)
    first = group.join(["t"], lambda: None)
    group.take(first)
    group.join(["t"], lambda: None)
    surplus = group.surplus(first)
    group.expel(first)
    group.release(first, surplus)
    assert group.take(first) == {}
    assert first.changed
    group.rejoin(first)
    assert first.target
