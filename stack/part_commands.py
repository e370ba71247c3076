"""The commands that parts declare: imported when one of them runs, or the help lists all."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

__all__ = ["PART_COMMANDS", "PartCommands"]

PART_COMMANDS = {
    "city": "sensors_sim.commands:city",
    "simulate": "sensors_sim.commands:simulate",
    "replay": "sensors_sim.commands:replay",
    "replay-city": "sensors_sim.commands:replay_city",
    "backtest": "streams.forecast.command:backtest",
    "rules": "alerts.command:app",
}
"""Name of the command -> module:attribute, a function with typer's options or a typer app."""


class PartCommands(TyperGroup):
    """The commands of the roof, and after them those of the parts."""

    def load_all(self) -> None:
        """Import the commands of all parts."""
        for name in PART_COMMANDS:
            self.get_command(None, name)

    def list_commands(self, ctx: Any) -> list[str]:
        own = [name for name in super().list_commands(ctx) if name not in PART_COMMANDS]
        return own + list(PART_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in PART_COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return super().get_command(ctx, cmd_name)


def _load(name: str) -> Any:
    module, _, attribute = PART_COMMANDS[name].partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return get_command(found)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(found)
    return get_command(alone)
