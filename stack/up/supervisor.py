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

from civicstream.clock import wall_ms
from civicstream.errors import ConfigurationError, ServerUnavailable
from stack.servers.processes import Child, wait_until
from stack.up.restart_policy import Backoff, RestartRecord

__all__ = ["Part", "PartState", "Supervised", "Supervisor"]

_FAIL_AFTER = 5  # deaths in a row: it will not heal by itself

_WORKING_SHARE = 0.02
"""Of a processor: a start that uses less waits for something that does not come. A machine whose
processors are shared fifty ways still gives a busy process more; one that polls takes less."""


@dataclass(frozen=True)
class Part:
    """One process of the stack.

    ``launch`` starts it; ``ready(started_ms)`` says whether the one started then (epoch ms) is
    up. It starts when every part in ``after`` is ready. ``once``: it ends by itself with exit code
    0 and is then ready; ``ends``: it does so some time after it was ready. A start may take as
    long as it works; one that has done nothing for ``stalled_s`` is killed and tried again.
    ``drained(asked_ms)``: asked before it is stopped, for ``drain_s`` at most, whether it has
    nothing left to do since the moment of the question. ``on_ready`` is called each time it
    becomes ready.
    """

    name: str
    launch: Callable[[], Child]
    ready: Callable[[int], bool] = lambda _started_ms: True
    after: tuple[str, ...] = ()
    once: bool = False
    ends: bool = False
    stalled_s: float = 60
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
    ready_since: float | None = None
    was_ready: bool = False
    worked_at: float = 0.0
    worked_cpu_s: float = 0.0
    """When the start was last seen to have worked, and the processor time it had used by then."""


class Supervisor:
    """Parts in the order of their start. ``log`` gets one sentence per event.

    Call everything from one thread that lives as long as the stack (see ``_die_with_parent``).
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        log: Callable[[str], None],
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.parts = {part.name: Supervised(part) for part in parts}
        self._log = log
        self._backoff = backoff or Backoff()
        self._clock = clock
        for part in parts:
            unknown = set(part.after) - set(self.parts)
            if unknown:
                raise ConfigurationError(f"part {part.name} waits for {unknown}, which is no part")

    def all_ready(self) -> bool:
        return all(s.state is PartState.READY for s in self.parts.values())

    def over(self) -> bool:
        """Return whether a part that ends has done all it was to do."""
        return any(
            s.part.ends
            and s.state is PartState.READY
            and s.child is not None
            and not s.child.alive()
            for s in self.parts.values()
        )

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
            if (s.part.once or s.part.ends) and s.child.returncode == 0:
                self._becomes_ready(s)
            else:
                self._died(s, f"ended with code {s.child.returncode}")
        elif s.state is PartState.STARTING and not s.part.once and s.part.ready(s.started_ms):
            self._becomes_ready(s)
        elif s.state is PartState.STARTING and self._stalled(s, s.child):
            s.child.kill()
            self._died(s, f"was not ready and did nothing for {s.part.stalled_s:g} s")

    def _stalled(self, s: Supervised, child: Child) -> bool:
        now = self._clock()
        if now - s.worked_at <= s.part.stalled_s:
            return False
        cpu_s = child.cpu_s()
        if cpu_s - s.worked_cpu_s < _WORKING_SHARE * (now - s.worked_at):
            return True
        s.worked_at, s.worked_cpu_s = now, cpu_s
        return False

    def _becomes_ready(self, s: Supervised) -> None:
        if s.state is not PartState.READY:
            s.state, s.was_ready, s.ready_since = PartState.READY, True, self._clock()
            s.part.on_ready()
            again = " again" if s.record.restarts else ""
            self._log(f"{s.part.name} is ready{again} ({self._clock() - s.started:.1f} s)")

    def _died(self, s: Supervised, how: str) -> None:
        assert s.child is not None  # noqa: S101 it has died
        now = self._clock()
        s.record, s.due = s.record.after_death(
            ready_since=s.ready_since, now=now, backoff=self._backoff
        )
        if not s.was_ready:
            self._fail_if_hopeless(s, how)
        s.state, s.ready_since = PartState.WAITING, None
        self._log(f"{s.part.name} {how}; starting it again in {s.due - now:.1f} s")
        if s.record.failures == _FAIL_AFTER:
            self._log(
                f"{s.part.name} has died {_FAIL_AFTER} times in a row and is tried every "
                f"{self._backoff.longest_s:g} s from now on; its last lines, more in "
                f"{s.child.log_file}:\n{s.child.last_words(3)}"
            )

    def _fail_if_hopeless(self, s: Supervised, how: str) -> None:
        assert s.child is not None  # noqa: S101 it has died
        words = f"{s.part.name} {how}:\n{s.child.last_words()}"
        if s.child.returncode == 2:
            raise ConfigurationError(words)
        if s.record.failures >= _FAIL_AFTER:
            raise ServerUnavailable(f"{words}\n({_FAIL_AFTER} times in a row)")

    def _maybe_start(self, s: Supervised) -> None:
        needed = (self.parts[name].state for name in s.part.after)
        if self._clock() < s.due or any(state is not PartState.READY for state in needed):
            return
        s.started, s.started_ms = self._clock(), wall_ms()
        s.worked_at, s.worked_cpu_s = s.started, 0.0
        try:
            s.child = s.part.launch()
        except ConfigurationError:
            if not s.was_ready:
                raise
            # E.g. its port was taken by another program while it was down.
            s.record, s.due = s.record.after_death(
                ready_since=None, now=s.started, backoff=self._backoff
            )
            self._log(f"{s.part.name} cannot start yet; again in {s.due - s.started:.1f} s")
            return
        s.state = PartState.STARTING

    def end(self, name: str) -> None:
        """Stop one part for good; the others go on."""
        s = self.parts[name]
        if s.child is not None:
            s.child.stop()
        s.state = PartState.STOPPED

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
                self._log(f"{s.part.name} did not end when asked and was killed")

    def _drain(self, part: Part, drained: Callable[[int], bool]) -> None:
        asked_ms = wall_ms()
        try:
            wait_until(lambda: drained(asked_ms), "", timeout_s=part.drain_s, every_s=0.1)
        except ServerUnavailable:
            self._log(f"{part.name} was still busy after {part.drain_s:g} s")
