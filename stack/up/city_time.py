"""Which clock the city of a stack has: a replay's, a simulated hour, or the machine's."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from civicstream.clock import REAL, Clock
from civicstream.errors import ConfigurationError
from civicstream.settings import Settings
from stack.data_folder import DataFolder, write_private
from stack.up.options import StackOptions

__all__ = ["CityTime", "choose_city_time", "last_working_day_at"]

_BUSY_HOUR = "07:45"
"""Traffic rises towards its peak at 8:00: a blockage shows within minutes."""

_LEAD_S = 45
"""About as long as a stack takes to start: until then the clock stands at the recording's
beginning. Where it takes longer, what is due by then goes out at once."""

_CLOCK_FILE = "clock.json"


@dataclass(frozen=True)
class CityTime:
    """The clock, and by how much recorded times are moved [ms]; 0 without a replay."""

    clock: Clock
    shift_ms: int = 0


def choose_city_time(
    options: StackOptions, settings: Settings, folder: DataFolder, present_ms: int
) -> CityTime:
    """Return the clock of this run and keep it in the folder: its readings are of that time.

    Raise ConfigurationError where the folder has another one than what is asked for.
    """
    _refuse_what_does_not_go_together(options)
    file = folder.path / _CLOCK_FILE
    if options.replay is not None:
        if file.exists() or (folder.path / "database").exists():
            raise ConfigurationError(
                f"{folder.path} holds an earlier run, whose times a replay would go through "
                "again; wipe it with --fresh, or give another folder with --data"
            )
        chosen = _replayed(options.replay, options, present_ms)
    elif settings.clock.model_fields_set:
        chosen = CityTime(settings.clock.clock())
    elif file.exists():
        if options.time is not None:
            raise ConfigurationError(
                f"--time {options.time}: {folder.path} keeps the clock that it began with; wipe "
                "it with --fresh, or give another folder with --data"
            )
        chosen = CityTime(_read(file))
    else:
        chosen = CityTime(_simulated(options, present_ms, settings.city.timezone))
    write_private(file, json.dumps(asdict(chosen.clock)))
    return chosen


def _refuse_what_does_not_go_together(options: StackOptions) -> None:
    if options.replay is None and (options.begin or options.end):
        raise ConfigurationError("--from, --until: they are for a part of a --replay; name one")
    if options.replay is not None and options.time is not None:
        raise ConfigurationError("--time: a --replay has its own; name a part of it with --from")


def _read(file: Path) -> Clock:
    try:
        return Clock(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{file}: {error}; wipe the folder with --fresh") from error


def _replayed(recording: Path, options: StackOptions, present_ms: int) -> CityTime:
    from sensors_sim.city_recording import moved_to_present, recorded_part

    begin, end = recorded_part(recording, options.begin, options.end)
    shift = moved_to_present(end, present_ms)
    return CityTime(Clock(present_ms + _LEAD_S * 1000, begin + shift, options.speed), shift)


def _simulated(options: StackOptions, present_ms: int, timezone: str) -> Clock:
    wanted = options.time or (_BUSY_HOUR if options.simulator else "now")
    if wanted == "now":
        return REAL
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", wanted):
        raise ConfigurationError(f"--time {wanted!r}: expected HH:MM, like 08:00, or now")
    begin = last_working_day_at(time.fromisoformat(wanted), present_ms, timezone)
    return Clock(present_ms, begin, 1.0)


def last_working_day_at(hour: time, present_ms: int, timezone: str) -> int:
    """Return the latest Monday to Friday at the local ``hour`` before the present [epoch ms]."""
    zone = ZoneInfo(timezone)
    present = datetime.fromtimestamp(present_ms / 1000, zone)
    day = present.date()
    while datetime.combine(day, hour, zone) > present or day.weekday() >= 5:
        day -= timedelta(days=1)
    return int(datetime.combine(day, hour, zone).timestamp() * 1000)
