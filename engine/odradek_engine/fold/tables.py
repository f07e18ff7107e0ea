"""Which rows a partition's storage holds under which keys."""

from __future__ import annotations

from . import keys, rows

TABLES: dict[bytes, type[rows.Row]] = {
    keys.PARTITION: rows.PartitionRow,
    keys.SESSION: rows.SessionRow,
    keys.CURRENT: rows.RunRow,
    keys.EARLIER: rows.RunRow,
    keys.ACTIVITY: rows.ActivityRow,
    keys.TIMER: rows.TimerRow,
    keys.CHILD: rows.ChildRow,
    keys.EXTERNAL: rows.ExternalRow,
    keys.RESET: rows.ResetRow,
    keys.BEHIND: rows.BehindRow,
    keys.UPDATE: rows.UpdateRow,
    keys.PIECE: rows.PieceRow,
    keys.REQUEST: rows.RequestRow,
    keys.OUTBOX: rows.OutboxRow,
    keys.TAIL: rows.LinkRow,
    keys.SOURCE: rows.LinkRow,
    keys.WAITING: rows.WaitingRow,
    keys.CURRENT_BUILD: rows.CurrentBuildRow,
    keys.NEEDED_COUNT: rows.NeededRow,
}
"""Tables of rows by the first byte of their keys. Events hold bytes; indexes hold nothing."""

INDEXES = (keys.HELD, keys.EXPIRY, keys.DUE, keys.OUT, keys.NEEDED)
