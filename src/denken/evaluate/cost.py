"""What an answer costs, and what as many tokens cost by others' list prices. Pure: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a core-hour of this machine, of which so many cores work, and for a million tokens of a server's.

    >>> Price(usd_per_core_hour=0.02, cores=2).of(prompt_tokens=100, tokens=50, core_seconds=18)
    0.0001
    >>> Price(usd_in=0.55, usd_out=2.19).of(prompt_tokens=100, tokens=50)
    0.0001645
    """

    usd_per_core_hour: float = 0.0
    cores: int = 0
    usd_in: float = 0.0
    usd_out: float = 0.0

    def of(self, prompt_tokens: float, tokens: float, core_seconds: float = 0.0) -> float:
        machine = core_seconds / 3600 * self.usd_per_core_hour
        return machine + (prompt_tokens * self.usd_in + tokens * self.usd_out) / 1e6

    def __str__(self) -> str:
        if self.cores:
            return f"{self.usd_per_core_hour:g} USD a core-hour"
        return f"{self.usd_in:g} USD a million tokens of questions, {self.usd_out:g} of answers"


@dataclass(frozen=True, slots=True)
class Listed:
    """A published price, of the day on which the model came out, without discounts for caches or batches.

    source: who published it; where we have it from, if that is somebody else.
    """

    name: str
    day: str
    price: Price
    source: str


LISTED = (
    Listed(
        "DeepSeek-R1",
        "2025-01-20",
        Price(usd_in=0.55, usd_out=2.19),
        "DeepSeek, api-docs.deepseek.com/quick_start/pricing-details-usd",
    ),
    Listed(
        "o3-mini",
        "2025-01-31",
        Price(usd_in=1.10, usd_out=4.40),
        "OpenAI; seen in third parties' lists of its prices (llmcalc.app, checked there 2026-05-06)",
    ),
)
