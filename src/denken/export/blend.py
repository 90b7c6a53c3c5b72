"""The arithmetic of merging, one tensor at a time: tensors and a plan in, a tensor out.

    linear   sum of w_i theta_i with weights that add up to 1             (model soups, Wortsman et al. 2022)
    slerp    along the arc between two models' tensors                    (Shoemake 1985)
    task     base + s * sum of w_i tau_i, where tau_i = theta_i - base    (task arithmetic, Ilharco et al. 2023)
    ties     base + s * the mean of those tau_i that agree in sign        (TIES, Yadav et al. 2023)
    dare     as task, after most of each tau_i is dropped and the rest is scaled up  (DARE, Yu et al. 2024)

Where this departs from the papers:

1. TIES trims each tensor by itself, not a model's whole change at once, which would have to be held.
2. slerp takes a tensor as one vector; where two are almost parallel it is linear.
3. With task and dare the weights that are usual here are shares (one over the number of models), so that what is added
   is about the size of one model's change. Ilharco et al. choose a common factor on held-out problems.

Which models are merged, and whether they belong together, is `merge.py`'s business.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from denken.errors import ConfigError

Method = Literal["linear", "slerp", "task", "ties", "dare"]
METHODS: tuple[Method, ...] = ("linear", "slerp", "task", "ties", "dare")
OF_CHANGES = ("task", "ties", "dare")  # what works on differences from a base
# Above this cosine the arc is so short that dividing by its sine would be noise.
PARALLEL = 0.9995


@dataclass(frozen=True)
class Plan:
    """How to merge.

    weights: one a model. scale: s above, how much of the merged change is applied. density: the share of each change
    that is kept, by size (ties) or at random (dare). seed: of dare's choice.
    """

    method: Method
    weights: tuple[float, ...]
    scale: float = 1.0
    density: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        count = len(self.weights)
        if self.method not in METHODS:
            raise ConfigError(f"The method {self.method!r} is not known; give one of {', '.join(METHODS)}.")
        if not all(map(math.isfinite, (*self.weights, self.scale))):
            raise ConfigError("Weights and scale must be finite numbers.")
        if self.method == "slerp" and count != 2:
            raise ConfigError(f"slerp is between two models, and there are {count}; give two, or another method.")
        if self.method in ("linear", "slerp") and abs(sum(self.weights) - 1) > 1e-6:
            raise ConfigError(f"The weights add up to {sum(self.weights):g}; for {self.method} they must add up to 1.")
        if self.method == "ties" and (min(self.weights) < 0 or not any(self.weights)):
            raise ConfigError("ties takes weights from 0 up, one of them at least above it: signs are what it decides.")
        if not 0 < self.density <= 1:
            raise ConfigError(f"density is {self.density:g}; give a share above 0 and at most 1.")


def merged(name: str, theirs: Sequence[Tensor], base: Tensor | None, plan: Plan) -> Tensor:
    """One tensor of the result, fp32. name: what DARE draws by, so that the order of tensors does not matter."""
    if plan.method == "linear":
        return linear(theirs, plan.weights)
    if plan.method == "slerp":
        return slerp(theirs[0], theirs[1], plan.weights[1])
    assert base is not None
    changes = [tensor - base for tensor in theirs]
    if plan.method == "ties":
        change = ties(changes, plan.weights, plan.density)
    elif plan.method == "dare":
        draws = [_draw(name, number, plan.seed) for number in range(len(changes))]
        change = linear(
            [dropped(each, plan.density, draw) for each, draw in zip(changes, draws, strict=True)], plan.weights
        )
    else:
        change = linear(changes, plan.weights)
    return base + plan.scale * change


def linear(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum."""
    total = torch.zeros_like(tensors[0])
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor, alpha=weight)
    return total


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The point that lies `share` of the way along the arc from the first to the second, taken as vectors.

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)
    tensor([0.7071, 0.7071])
    """
    a, b = first.double(), second.double()
    lengths = a.norm() * b.norm()
    cosine = float((a * b).sum() / lengths) if lengths > 0 else 1.0
    if abs(cosine) > PARALLEL:
        return linear([first, second], [1 - share, share])
    angle = math.acos(cosine)
    left, right = (math.sin(part * angle) / math.sin(angle) for part in (1 - share, share))
    return (left * a + right * b).to(first.dtype)


def ties(changes: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Trim, elect a sign, merge what agrees with it (TIES, section 3.2).

    >>> ties([torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 2.0])], [1.0, 1.0], 1.0)
    tensor([3.0000, 1.5000])
    """
    trimmed = [trim(change, density) for change in changes]
    elected = linear(trimmed, weights).sign()
    total, shares = torch.zeros_like(elected), torch.zeros_like(elected)
    for change, weight in zip(trimmed, weights, strict=True):
        agrees = (change.sign() == elected) & (change != 0)
        total += torch.where(agrees, weight * change, 0.0)
        shares += torch.where(agrees, weight, 0.0)
    return torch.where(shares > 0, total / shares.clamp(min=1e-30), 0.0)


def trim(change: Tensor, density: float) -> Tensor:
    """The share `density` of the numbers that are largest, 0 elsewhere."""
    kept = max(1, round(density * change.numel()))
    if kept == change.numel():
        return change
    chosen = change.abs().flatten().topk(kept).indices
    flat = torch.zeros_like(change.flatten())
    flat[chosen] = change.flatten()[chosen]
    return flat.view_as(change)


def dropped(change: Tensor, density: float, draw: torch.Generator) -> Tensor:
    """Each number kept with probability `density`, and then divided by it (DARE, section 3.2)."""
    return torch.where(torch.rand(change.shape, generator=draw) < density, change / density, 0.0)


def _draw(name: str, number: int, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {number} {name}".encode()))
