"""Find the bad rows of a batch by halving it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["write_around_bad_rows"]


def write_around_bad_rows(
    count: int, attempt: Callable[[int, int], Exception | None]
) -> list[tuple[int, Exception]]:
    """Write rows 0..count-1 except the bad ones; return those with their errors, in order.

    ``attempt(start, stop)`` writes the rows of that range all or none, and returns the error
    when none. With b bad rows it is called at most about 2 b log2(count) times.
    """
    bad: list[tuple[int, Exception]] = []
    waiting = [(0, count)] if count else []
    while waiting:
        start, stop = waiting.pop()
        error = attempt(start, stop)
        if error is None:
            continue
        if stop - start == 1:
            bad.append((start, error))
            continue
        middle = (start + stop) // 2
        waiting += [(middle, stop), (start, middle)]
    return bad
