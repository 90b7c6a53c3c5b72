"""How good is it? Runs over tasks, metrics with intervals, published scores beside them, and reports."""

from denken.evaluate.metrics import Estimate
from denken.evaluate.runner import Result, evaluate, measure

__all__ = ["Estimate", "Result", "evaluate", "measure"]
