"""Games with numbers: Countdown, and two that a model may know before it meets Countdown.

In `game:countdown` a result must be hit exactly, with each of a few whole numbers used once. In `game:expressions` any
result with a named property will do; in `game:choices` the expressions are given, and one of them makes the result.
"""

from __future__ import annotations

from collections.abc import Callable

from denken.tasks.base import Traced
from denken.tasks.games.choices import Choices
from denken.tasks.games.countdown import Countdown
from denken.tasks.games.expressions import Expressions

GAMES: dict[str, Callable[..., Traced]] = {"countdown": Countdown, "expressions": Expressions, "choices": Choices}
