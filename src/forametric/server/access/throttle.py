"""Growing delays after failed log-ins."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FORGET_SECONDS = 3600  # without a failure, until the earlier ones no longer count
MOST_COUNTERS = 10_000


@dataclass(frozen=True)
class Limit:
    """How many failures are free, and the longest delay after more, in seconds."""

    free: int
    longest: float

    def delay(self, failures: int) -> float:
        """Seconds to wait after a number of failures.

        >>> [Limit(3, 10).delay(failures) for failures in (2, 3, 4, 5, 6, 7)]
        [0.0, 1.0, 2.0, 4.0, 8.0, 10.0]
        """
        if failures < self.free:
            return 0.0
        return min(2.0 ** min(failures - self.free, 60), float(self.longest))


# A client that guesses the password of one account is soon stopped. Others at its address, and
# the account's owner elsewhere, wait a minute at most.
PAIR = Limit(5, 900)
ADDRESS = Limit(20, 60)
ACCOUNT = Limit(50, 60)


class TooManyAttemptsError(Exception):
    """A log-in is refused unseen; `seconds` says when the next one is considered."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"too many failed log-ins; try again in {self.seconds} seconds.")


class Throttle:
    """Counts failed log-ins by account, by address and by both; the memory of it is bounded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Counter → failures, time of the last; the one that changed last is at the end.
        self._failures: OrderedDict[tuple[str, ...], tuple[int, float]] = OrderedDict()

    def check(self, address: str, account: str = "") -> None:
        """Raise `TooManyAttemptsError` while a log-in has to wait."""
        now = self._clock()
        with self._lock:
            waits = [
                last + limit.delay(failures) - now
                for counter, limit in _counters(address, account)
                for failures, last in [self._failures.get(counter, (0, -math.inf))]
                if now - last < FORGET_SECONDS
            ]
        if max(waits, default=0.0) > 0:
            raise TooManyAttemptsError(max(waits))

    def failed(self, address: str, account: str = "") -> None:
        """Count a failure."""
        now = self._clock()
        with self._lock:
            for counter, _ in _counters(address, account):
                failures, last = self._failures.pop(counter, (0, now))
                failures = failures if now - last < FORGET_SECONDS else 0
                self._failures[counter] = (failures + 1, now)
            while len(self._failures) > MOST_COUNTERS:
                self._failures.popitem(last=False)

    def succeeded(self, address: str, account: str) -> None:
        """Forget the failures of an account at an address."""
        with self._lock:
            self._failures.pop(("pair", _network(address), account), None)


def _counters(address: str, account: str) -> list[tuple[tuple[str, ...], Limit]]:
    network, name = _network(address), account
    counters: list[tuple[tuple[str, ...], Limit]] = [(("address", network), ADDRESS)]
    if account:
        counters += [(("account", name), ACCOUNT), (("pair", network, name), PAIR)]
    return counters


def _network(address: str) -> str:
    """An address; of IPv6 the first 64 bits, of which a client has all addresses.

    >>> _network("2001:db8::1"), _network("10.0.0.7"), _network("::ffff:10.0.0.7")
    ('2001:db8::', '10.0.0.7', '10.0.0.7')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
