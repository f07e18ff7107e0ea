"""While a query or a validator runs, the workflow is read-only: commands, new tasks and attributes are refused."""

from __future__ import annotations

import types
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

from ._instance_core import InstanceCore
from .errors import ReadOnlyError


@contextmanager
def reading(core: InstanceCore) -> Generator[None]:
    """Run the block without letting it change the workflow.

    Raises ReadOnlyError where it tries. A change inside of a value (a list that grows) is not seen: it is a bug that
    shows on a replay.
    """
    run = core.object
    cls = type(run)
    core.loop.read_only = True
    frozen = _freeze(run, cls)
    try:
        yield
    finally:
        if frozen:
            object.__setattr__(run, "__class__", cls)
        core.loop.read_only = False


def _freeze(run: Any, cls: type[Any]) -> bool:
    """Whether the object now refuses attributes. One of a foreign layout cannot be made to."""
    if run is None:
        return False
    try:
        object.__setattr__(run, "__class__", _frozen_class(cls))
    except TypeError:
        return False
    return True


_FROZEN = "__odradek_frozen__"


def _frozen_class(cls: type[Any]) -> type[Any]:
    """A subclass without attributes of its own, whose instances refuse to be changed."""
    found: type[Any] | None = vars(cls).get(_FROZEN)
    if found is None:
        found = _make_frozen(cls)
        setattr(cls, _FROZEN, found)
    return found


def _make_frozen(cls: type[Any]) -> type[Any]:
    def refuse_set(self: Any, name: str, value: Any) -> NoReturn:
        raise ReadOnlyError(f"a query or validator only reads: it cannot set {name!r}; use a signal or an update")

    def refuse_delete(self: Any, name: str) -> NoReturn:
        raise ReadOnlyError(f"a query or validator only reads: it cannot delete {name!r}; use a signal or an update")

    members = {
        "__slots__": (),
        "__setattr__": refuse_set,
        "__delattr__": refuse_delete,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    frozen: type[Any] = types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(members))
    return frozen
