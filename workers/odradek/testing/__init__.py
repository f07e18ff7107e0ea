"""Tools for testing workflows: the real engine in this process, on a clock that skips what nobody waits for."""

from ._determinism import verify_determinism
from ._environment import Environment, NewEnvironment
from ._replaying import replay

__all__ = ["Environment", "NewEnvironment", "replay", "verify_determinism"]


def __dir__() -> list[str]:
    return __all__
