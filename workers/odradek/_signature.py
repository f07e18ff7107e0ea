"""Signatures of what users define: parameters with resolved types, and how arguments become a list of payloads.

Arguments travel as one list in the order of the parameters, keyword-only ones last; defaults at the end are
left out, so that the side that runs the function decides them.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from types import FrameType
from typing import Any

from .errors import DefinitionError

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Signature:
    """The parameters of `what` (without `self`), their types, and the type of the result (Any where not annotated)."""

    what: str
    parameters: tuple[Parameter, ...]
    result_type: Any

    @cached_property
    def names(self) -> list[str]:
        """The parameters' names."""
        return [parameter.name for parameter in self.parameters]

    @cached_property
    def types(self) -> list[Any]:
        """The parameters' types."""
        return [parameter.annotation for parameter in self.parameters]

    def types_for(self, count: int) -> list[Any]:
        """The types of `count` arguments; Any for those that no parameter takes."""
        types = self.types
        if count == len(types):
            return types
        if self.parameters and self.parameters[-1].kind is Parameter.VAR_POSITIONAL:
            types = types + [types[-1]] * (count - len(types))
        return (types + [Any] * (count - len(types)))[:count]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The arguments of a call in the order of the parameters. Raises DefinitionError if they do not fit."""
        if not kwargs and self._least <= len(args) <= self._most:
            return list(args)
        try:
            bound = inspect.Signature(self.parameters).bind(*args, **kwargs)
        except TypeError as error:
            raise DefinitionError(f"{self}: {error}") from None
        given = bound.arguments
        values: list[Any] = []
        waiting: list[Any] = []  # defaults that are needed only if a later argument is given
        for parameter in self.parameters:
            if parameter.kind is Parameter.VAR_POSITIONAL:
                values += given.get(parameter.name, ())
            elif parameter.name in given:
                values += [*waiting, given[parameter.name]]
                waiting = []
            else:
                waiting.append(parameter.default)
        return values

    def arguments(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inverse of `bind`: positional and keyword arguments to call the function with.

        Raises DefinitionError if there are too few or too many values.
        """
        if self._least <= len(values) <= self._most:
            return tuple(values), {}
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        rest = list(values)
        for parameter in self.parameters:
            if parameter.kind is Parameter.VAR_POSITIONAL:
                positional += rest
                rest = []
            elif rest and parameter.kind is Parameter.KEYWORD_ONLY:
                keywords[parameter.name] = rest.pop(0)
            elif rest:
                positional.append(rest.pop(0))
            elif parameter.default is Parameter.empty:
                raise DefinitionError(f"{self}: {len(values)} arguments came, {parameter.name!r} is missing")
        if rest:
            raise DefinitionError(f"{self}: {len(values)} arguments came, it takes {len(self.parameters)}")
        return tuple(positional), keywords

    @cached_property
    def _least(self) -> int:
        """How many arguments there have to be, if all are positional."""
        needed = [parameter for parameter in self.parameters if parameter.default is Parameter.empty]
        if any(parameter.kind is Parameter.KEYWORD_ONLY for parameter in needed):
            return sys.maxsize
        return sum(parameter.kind in _POSITIONAL for parameter in needed)

    @cached_property
    def _most(self) -> int:
        """How many positional arguments there may be."""
        if any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in self.parameters):
            return sys.maxsize - 1
        return sum(parameter.kind in _POSITIONAL for parameter in self.parameters)

    def __str__(self) -> str:
        shown = inspect.Signature([parameter.replace(annotation=Parameter.empty) for parameter in self.parameters])
        return f"{self.what}{shown}"


def signature_of(
    fn: Callable[..., Any], what: str, *, method: bool = False, names: Mapping[str, Any] | None = None
) -> Signature:
    """The signature of `fn` with its annotations resolved, without `self` if it is a method.

    `names`: what `captured_names` found where it was defined. Raises DefinitionError if an annotation cannot be
    resolved, or a parameter's kind cannot be sent.
    """
    try:
        hints = typing.get_type_hints(fn, localns=dict(names or {}), include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{what}: an annotation cannot be resolved: {error}. Import the type at the top of its module, "
            "not inside a function or under `if TYPE_CHECKING`: it is needed to read the arguments"
        ) from error
    except Exception as error:
        raise DefinitionError(f"{what}: an annotation cannot be resolved: {error}") from error
    parameters = list(inspect.signature(fn).parameters.values())
    if method:
        parameters = parameters[1:]
    _check_kinds(parameters, what)
    resolved = tuple(parameter.replace(annotation=hints.get(parameter.name, Any)) for parameter in parameters)
    return Signature(what, resolved, hints.get("return", Any))


def _check_kinds(parameters: Sequence[Parameter], what: str) -> None:
    kinds = {parameter.kind for parameter in parameters}
    if Parameter.VAR_KEYWORD in kinds:
        raise DefinitionError(f"{what}: arguments travel by position: name each parameter instead of `**kwargs`")
    if {Parameter.VAR_POSITIONAL, Parameter.KEYWORD_ONLY} <= kinds:
        raise DefinitionError(f"{what}: take `*args` or keyword-only parameters, not both")


def captured_names(fn: Callable[..., Any]) -> dict[str, Any]:
    """The local variables around the definition of `fn` that its annotations mention.

    Annotations written as text are resolved later; for a class defined inside a function this is the last
    moment to find it. Call it while `fn` is being decorated.
    """
    written = [text for text in getattr(fn, "__annotations__", {}).values() if isinstance(text, str)]
    wanted = {name for text in written for name in _IDENTIFIER.findall(text)}
    found: dict[str, Any] = {}
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__package__") == _PACKAGE:
        frame = frame.f_back
    while wanted and frame is not None and frame.f_locals is not frame.f_globals:
        for name in wanted.intersection(frame.f_locals):
            found.setdefault(name, frame.f_locals[name])
        frame = frame.f_back
    return found
