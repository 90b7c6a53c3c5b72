"""What is it asked, and was it right? Seeded problems, worked solutions, and judges that hostile text cannot fool.

>>> from denken import tasks
>>> task = tasks.get("chain_sum")
>>> task.problem(11).prompt
'State the final answer to the following arithmetic problem: 8402 - 9320 + 4111 + 4025 - 9387 ='
"""

from denken.tasks.base import (
    BENCHMARK_ITEMS,
    BENCHMARK_SEED,
    EVALUATION_SEEDS_FROM,
    Demonstration,
    Lookup,
    Retrieves,
    Task,
    Traced,
    training_seed_allowed,
)
from denken.tasks.registry import get, names

__all__ = [
    "BENCHMARK_ITEMS",
    "BENCHMARK_SEED",
    "EVALUATION_SEEDS_FROM",
    "Demonstration",
    "Lookup",
    "Retrieves",
    "Task",
    "Traced",
    "get",
    "names",
    "training_seed_allowed",
]
