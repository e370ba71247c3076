"""Commands whose options are the fields of a dataclass, so that each is written once.

A field is declared as typer wants a parameter: the type is ``Annotated`` with a ``typer.Option``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

__all__ = ["options_of"]

T = TypeVar("T")


def options_of(of: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Return a decorator: the function takes an ``of``, the command its fields as options."""

    def decorate(run: Callable[[T], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            run(of(**given))

        hints = get_type_hints(of, include_extras=True)
        declared: tuple[Any, ...] = fields(of)  # type: ignore[arg-type]
        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in declared
        ]
        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {field.name: hints[field.name] for field in declared}
        return command

    return decorate
