"""One supervisor: starts parts in order, starts again what dies, stops all in reverse order.

It knows nothing of brokers or databases: a ``Part`` says how it is started and when it is
ready. One tick looks at every part once; nothing here waits except the stop.
"""

from __future__ import annotations

import enum
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from civicstream.clock import now_ms
from civicstream.embedded.processes import Child, wait_until
from civicstream.embedded.restart_policy import Backoff, RestartRecord
from civicstream.errors import ConfigurationError, ServerUnavailable

__all__ = ["Part", "PartState", "Supervised", "Supervisor"]

_GIVE_UP_AFTER = 5  # deaths in a row of a part that was never ready: it will not heal by itself


@dataclass(frozen=True)
class Part:
    """One process of the stack.

    ``launch`` starts it; ``ready(started_ms)`` says whether the one started then (epoch ms) is
    up. It starts when every part in ``after`` is ready, and is stopped and started again with
    the parts in ``bound_to``. ``once``: it ends by itself with exit code 0 and is then ready.
    ``drained(asked_ms)``: asked before it is stopped, for ``drain_s`` at most, whether it has
    nothing left to do since the moment of the question. ``on_ready`` is called each time it
    becomes ready.
    """

    name: str
    launch: Callable[[], Child]
    ready: Callable[[int], bool] = lambda _started_ms: True
    after: tuple[str, ...] = ()
    bound_to: tuple[str, ...] = ()
    once: bool = False
    ready_within_s: float = 60
    drained: Callable[[int], bool] | None = None
    drain_s: float = 10
    on_ready: Callable[[], None] = lambda: None


class PartState(enum.Enum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


@dataclass
class Supervised:
    """A part and what has become of it; ``started`` and ``due`` on the monotonic clock [s]."""

    part: Part
    state: PartState = PartState.WAITING
    child: Child | None = None
    record: RestartRecord = field(default_factory=RestartRecord)
    started: float = 0.0
    started_ms: int = 0
    due: float = 0.0
    was_ready: bool = False


class Supervisor:
    """Parts in the order of their start. ``tell`` gets one sentence per event.

    Call everything from one thread that lives as long as the stack (see ``_die_with_parent``).
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        tell: Callable[[str], None],
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.parts = {part.name: Supervised(part) for part in parts}
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._clock = clock
        for part in parts:
            unknown = {*part.after, *part.bound_to} - set(self.parts)
            if unknown:
                raise ConfigurationError(f"part {part.name} waits for {unknown}, which is no part")

    def all_ready(self) -> bool:
        return all(s.state is PartState.READY for s in self.parts.values())

    def tick(self) -> None:
        """Look at every part once; raise what makes the whole stack hopeless."""
        for supervised in self.parts.values():
            if supervised.state in (PartState.STARTING, PartState.READY):
                self._look_at(supervised)
            elif supervised.state is PartState.WAITING:
                self._maybe_start(supervised)

    def _look_at(self, s: Supervised) -> None:
        assert s.child is not None  # noqa: S101 both states have a child
        if not s.child.alive():
            if s.part.once and s.child.returncode == 0:
                self._becomes_ready(s)
            else:
                self._died(s, f"ended with code {s.child.returncode}")
        elif s.state is PartState.STARTING and not s.part.once and s.part.ready(s.started_ms):
            self._becomes_ready(s)
        elif s.state is PartState.STARTING and self._clock() - s.started > s.part.ready_within_s:
            s.child.kill()
            self._died(s, f"was not ready within {s.part.ready_within_s:g} s")

    def _becomes_ready(self, s: Supervised) -> None:
        if s.state is not PartState.READY:
            s.state, s.was_ready = PartState.READY, True
            s.part.on_ready()
            again = " again" if s.record.restarts else ""
            self._tell(f"{s.part.name} is ready{again} ({self._clock() - s.started:.1f} s)")

    def _died(self, s: Supervised, how: str) -> None:
        assert s.child is not None  # noqa: S101 it has died
        now = self._clock()
        s.record, s.due = s.record.after_death(started=s.started, now=now, backoff=self._backoff)
        if not s.was_ready:
            self._give_up_if_hopeless(s, how)
        s.state = PartState.WAITING
        self._tell(f"{s.part.name} {how}; starting it again in {s.due - now:.1f} s")
        for other in self.parts.values():
            if s.part.name in other.part.bound_to:
                self._restart_with(other, s.part.name)

    def _give_up_if_hopeless(self, s: Supervised, how: str) -> None:
        assert s.child is not None  # noqa: S101 it has died
        words = f"{s.part.name} {how}:\n{s.child.last_words()}"
        if s.child.returncode == 2:
            raise ConfigurationError(words)
        if s.record.failures >= _GIVE_UP_AFTER:
            raise ServerUnavailable(f"{words}\n({_GIVE_UP_AFTER} times in a row)")

    def _restart_with(self, s: Supervised, cause: str) -> None:
        if s.child is not None and s.state is not PartState.STOPPED:
            # Its state belongs to what died, so an orderly end has nothing left to save.
            if s.child.alive():
                s.child.kill()
            s.state, s.due = PartState.WAITING, self._clock()
            self._tell(f"{s.part.name} starts again with {cause}")

    def _maybe_start(self, s: Supervised) -> None:
        needed = (self.parts[name].state for name in (*s.part.after, *s.part.bound_to))
        if self._clock() < s.due or any(state is not PartState.READY for state in needed):
            return
        s.started, s.started_ms = self._clock(), now_ms()
        try:
            s.child = s.part.launch()
        except ConfigurationError:
            if not s.was_ready:
                raise
            # E.g. its port was taken by another program while it was down.
            s.record, s.due = s.record.after_death(
                started=s.started, now=s.started, backoff=self._backoff
            )
            self._tell(f"{s.part.name} cannot start yet; again in {s.due - s.started:.1f} s")
            return
        s.state = PartState.STARTING

    def stop(self) -> None:
        """Stop every part, the last started first, each after it is drained; never raise."""
        for s in reversed(self.parts.values()):
            if s.child is None or not s.child.alive():
                s.state = PartState.STOPPED
                continue
            if s.state is PartState.READY and s.part.drained:
                self._drain(s.part, s.part.drained)
            code = s.child.stop()
            s.state = PartState.STOPPED
            if code == -signal.SIGKILL:
                self._tell(f"{s.part.name} did not end when asked and was killed")

    def _drain(self, part: Part, drained: Callable[[int], bool]) -> None:
        asked_ms = now_ms()
        try:
            wait_until(lambda: drained(asked_ms), "", timeout_s=part.drain_s, every_s=0.1)
        except ServerUnavailable:
            self._tell(f"{part.name} was still busy after {part.drain_s:g} s")
