"""Money as whole billionths of a US dollar, what a token costs elsewhere, and machine time shared out.

No amount is ever a float: a sum over a million lines is exact, and a limit is a limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from denken.errors import ConfigError

NANO = 10**9
# What a column of 64 bits holds, with room for sums.
MOST_USD = 10**9
HOUR_NS = 3600 * 10**9
# The most that a token is charged for is a tenth of a second of the whole machine. The worst that a request can come
# to is known before it runs only because there is such a bound.
MOST_NS_PER_TOKEN = 10**8


@dataclass(frozen=True, slots=True)
class ListPrice:
    """What others ask for a token, in billionths of a US dollar: computed of the prompt, cached of it, generated."""

    prompt: int
    cached: int
    completion: int

    def of(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> int:
        """
        >>> O1.of(prompt_tokens=1_000_000, cached_tokens=0, completion_tokens=0) // NANO
        15
        """
        computed = prompt_tokens - cached_tokens
        return computed * self.prompt + cached_tokens * self.cached + completion_tokens * self.completion


# US dollars per million tokens: o1 15 / 7.50 / 60, DeepSeek-R1 0.55 / 0.14 / 2.19.
O1 = ListPrice(15_000, 7_500, 60_000)
R1 = ListPrice(550, 140, 2_190)


def nano(usd: str | Decimal) -> int:
    """An amount in US dollars as billionths, rounded up. Raises ConfigError for what is no amount.

    >>> nano("0.04")
    40000000
    """
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MOST_USD:
        raise ConfigError(f"{usd!r} is no amount in US dollars; write one from 0 to {MOST_USD}, such as 2.50.")
    return int((amount * NANO).to_integral_value(ROUND_CEILING))


def usd(amount: int) -> str:
    """Billionths as US dollars, exactly, with at least two decimals.

    >>> usd(40_000_001), usd(2_500_000_000)
    ('0.040000001', '2.50')
    """
    whole, rest = divmod(amount, NANO)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{whole}.{decimals:0<2}"


def of_time(nanoseconds: int, per_hour: int) -> int:
    """What machine time costs at a price per hour; rounded up, as a reservation has to be."""
    return -(-nanoseconds * per_hour // HOUR_NS)


def worst(tokens: int, per_hour: int) -> int:
    """The most that so many tokens, of prompt and replies together, are charged."""
    return of_time(tokens * MOST_NS_PER_TOKEN, per_hour)


class Meter:
    """Machine time, shared at every moment by the replies under way: all shares add up to the time that was not idle.

    Of a reply that ran alone for 2 s and beside another for 2 s, the share is 3 s.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns):
        self._clock, self._last = clock, clock()
        self._running, self._each = 0, 0

    def start(self, replies: int) -> int:
        """Counts replies as under way; what is returned goes to `stop`."""
        self._advance()
        self._running += replies
        return self._each

    def stop(self, replies: int, started: int) -> int:
        """The nanoseconds that these replies had of the machine together."""
        self._advance()
        self._running -= replies
        return (self._each - started) * replies

    def _advance(self) -> None:
        now = self._clock()
        if self._running:
            self._each += (now - self._last) // self._running
        self._last = now
