"""How often somebody may do something. Kept in memory, for so many callers and no more."""

from __future__ import annotations

import time
from collections import OrderedDict, deque

_MOST_CALLERS = 10_000
_MINUTE = 60.0
_SAVED_SECONDS = 10.0


class Rates:
    """A bucket of permits per caller, which fills again with time."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._at_once = max(1.0, per_second * _SAVED_SECONDS)
        # Each caller's permits, and when they were counted.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take a permit; 0 if there was one, else the seconds until there is."""
        now = time.monotonic()
        permits, counted = self._left.pop(caller, (self._at_once, now))
        permits = min(self._at_once, permits + (now - counted) * self._per_second)
        allowed = permits >= 1
        self._left[caller] = (permits - 1 if allowed else permits, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - permits) / self._per_second


class FailedLogins:
    """Wrong tokens of the last minute by address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """How many seconds the address has to wait before it may try once more."""
        times = self._times.get(address)
        now = time.monotonic()
        while times and now - times[0] > _MINUTE:
            times.popleft()
        return _MINUTE - (now - times[0]) if times and len(times) >= self._most else 0.0

    def add(self, address: str) -> None:
        """One more."""
        times = self._times.pop(address, None) or deque(maxlen=self._most)
        times.append(time.monotonic())
        self._times[address] = times
        if len(self._times) > _MOST_CALLERS:
            self._times.popitem(last=False)
