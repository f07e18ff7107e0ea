"""Who leads a partition: elections in the log itself (rule L1).

Holding a partition (the group's assignment) is not leading it. A member leads once it has read back its own
`LeaderElected`, and until it reads another's.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from odradek_schemas.records import LeaderElected

from .clock import Clock, Randomness

READ_BACK_S = 5.0
"""How long to wait for one's own record before appending it again."""

CONTEST_S = (0.05, 1.0)
"""The random delay before a deposed holder stands again, so that two do not depose each other for ever."""


class Role(Enum):
    NONE = "none"
    ELECTING = "electing"
    LEADING = "leading"


class Leadership:
    """The election of one member in one partition. `append` puts a record into the partition."""

    def __init__(
        self,
        member: str,
        make: Callable[[str], LeaderElected],
        append: Callable[[LeaderElected, Callable[[], None]], None],
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.member = member
        self.role = Role.NONE
        self.holding = False
        """Whether the group gave us the partition: then we stand again when another deposes us."""
        self._make = make
        self._append = append
        self._clock = clock
        self._randomness = randomness
        self._nonce = ""
        self._again_at: float | None = None

    @property
    def leading(self) -> bool:
        return self.role is Role.LEADING

    def stand(self) -> None:
        """Stand for election: as one to whom the group gave the partition (`holding`), or in place of such a one."""
        self._nonce = self._randomness.token()
        self.role = Role.ELECTING
        self._stand()

    def resign(self) -> None:
        """The partition is no longer ours, nor do we lead it."""
        self.holding = False
        self.role = Role.NONE
        self._again_at = None

    def _stand(self) -> None:
        self._again_at = self._clock.monotonic() + READ_BACK_S
        self._append(self._make(self._nonce), self._append_failed)

    def _append_failed(self) -> None:
        """The record did not get into the log; may be called from any thread."""
        self._again_at = self._clock.monotonic() + self._randomness.uniform(*CONTEST_S)

    def observe(self, elected: LeaderElected, accepted: bool) -> bool:
        """A `LeaderElected` was folded. Returns whether we lead from here on, and did not before."""
        own = elected.member == self.member and elected.nonce == self._nonce
        if own and self.role is Role.ELECTING:
            if not accepted:  # it was made before the log went on to the fold version of now (V1)
                self._nonce = self._randomness.token()
                self._again_at = self._clock.monotonic() + self._randomness.uniform(*CONTEST_S)
                return False
            self.role = Role.LEADING
            self._again_at = None
            return True
        if not own and accepted and self.role is Role.LEADING:
            self.role = Role.NONE
            if self.holding:
                self._nonce = self._randomness.token()
                self.role = Role.ELECTING
                self._again_at = self._clock.monotonic() + self._randomness.uniform(*CONTEST_S)
        return False

    def tick(self) -> None:
        """Stand again where it is time to."""
        if self.role is Role.ELECTING and self._again_at is not None and self._clock.monotonic() >= self._again_at:
            self._stand()

    def next_tick(self) -> float | None:
        """When `tick` has something to do, on the monotonic clock."""
        return self._again_at if self.role is Role.ELECTING else None
