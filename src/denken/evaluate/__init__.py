"""How good is it? Runs over tasks, metrics with intervals, published scores beside them, and reports."""

from denken.evaluate.metrics import Estimate
from denken.evaluate.result import Result
from denken.evaluate.runner import evaluate, measure

__all__ = ["Estimate", "Result", "evaluate", "measure"]
