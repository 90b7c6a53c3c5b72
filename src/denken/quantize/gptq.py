"""GPTQ: each column's rounding error is made up for by the columns that are not rounded yet.

Source: Frantar et al. 2022, "GPTQ" (arXiv 2210.17323), algorithm 1. With H = the sum of x x^T over a layer's inputs x,
the error of a row w rounded to q is (w - q) H (w - q)^T, what the layer's output is off by; columns are rounded one by
one and the others move by the least-squares answer to what was lost. Departs from it:

1. columns with the largest inputs go first (the authors' later "act-order"), with scales that are chosen before, so
   that codes stay in their places and no index of groups is stored;
2. scales cut off what costs less cut off than kept, each column's error weighed by its place on H's diagonal;
3. an input that was never seen (its place on the diagonal is 0) is rounded to the nearest, not to 0.
"""

# O = outputs, I = inputs, G = groups of a row

from __future__ import annotations

import torch
from torch import Tensor

from denken.model.quantized import Scheme
from denken.quantize.rounding import nearest, scales

# Columns whose errors are passed on to the rest at once.
AT_ONCE = 128


def gptq(weight_OI: Tensor, hessian_II: Tensor, scheme: Scheme, damp: float = 0.01) -> tuple[Tensor, Tensor]:
    """Codes (O, I) and scales (O, G) of a weight whose inputs x had the sum of x x^T `hessian_II`.

    damp: the share of the diagonal's mean that is added to it, so that few inputs do not decide too much.
    """
    diagonal_I = hessian_II.diagonal().double()
    if not bool((diagonal_I > 0).any()):
        scale_OG = scales(weight_OI, scheme)
        return nearest(weight_OI, scale_OG, scheme), scale_OG
    mean = diagonal_I.mean()
    scale_OG = scales(weight_OI, scheme, (diagonal_I + damp * mean).float())
    order_I = diagonal_I.argsort(descending=True, stable=True)
    upper_II = _factor(hessian_II, order_I, float(damp * mean))
    group = weight_OI.shape[1] // scale_OG.shape[1]
    left_OI = weight_OI.float()[:, order_I].clone()
    steps_OI = scale_OG[:, order_I // group]
    codes_OI = torch.empty_like(left_OI)
    low, high = scheme.levels
    for start in range(0, len(order_I), AT_ONCE):
        end = min(start + AT_ONCE, len(order_I))
        errors_OC = left_OI.new_empty(len(left_OI), end - start)
        for column in range(start, end):
            code_O = (left_OI[:, column] / steps_OI[:, column]).round().clamp(low, high)
            codes_OI[:, column] = code_O
            error_O = (left_OI[:, column] - code_O * steps_OI[:, column]) / upper_II[column, column]
            left_OI[:, column:end].addr_(error_O, upper_II[column, column:end], alpha=-1)
            errors_OC[:, column - start] = error_O
        left_OI[:, end:].addmm_(errors_OC, upper_II[start:end, end:], alpha=-1)
    return codes_OI[:, order_I.argsort()].to(torch.int8), scale_OG


def _factor(hessian_II: Tensor, order_I: Tensor, damp: float) -> Tensor:
    """The upper Cholesky factor of the inverse of H + damp, its rows and columns in the order given, fp32.

    Row i holds how the columns after i make up for what i lost (section 3.3, step 3). In fp64: nearly dependent inputs
    are the rule.
    """
    ordered_II = hessian_II.double()[order_I][:, order_I]
    ordered_II.diagonal().add_(damp)
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(ordered_II))
    return torch.linalg.cholesky(inverse_II, upper=True).float()
