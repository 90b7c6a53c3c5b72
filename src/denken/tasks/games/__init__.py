"""Games with numbers: Countdown, and the looser game that a model may know before it meets Countdown.

Both give a few whole numbers, each to be used exactly once, and the four operations. In `game:countdown` the result is
given and must be hit exactly; in `game:expressions` any result with a named property will do.
"""

from __future__ import annotations

from collections.abc import Callable

from denken.tasks.base import Traced
from denken.tasks.games.countdown import Countdown
from denken.tasks.games.expressions import Expressions

GAMES: dict[str, Callable[..., Traced]] = {"countdown": Countdown, "expressions": Expressions}
