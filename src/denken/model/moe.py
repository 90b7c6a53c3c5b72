"""Mixtures of experts: the routers of DeepSeek-V3 (sigmoid scores, selection bias), V2 and Qwen3 (softmax).

Routing happens in fp32 whatever the weights are. Balancing during training (moving `e_score_correction_bias`)
is the trainer's; expert parallelism is not covered.
"""

# N = tokens (all rows flattened), X = experts, G = groups of experts, S = experts chosen for a token, M = hidden size

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from denken.model.config import ModelConfig
from denken.model.kernels.call import covers
from denken.model.kernels.experts import Routing, experts, route
from denken.model.kernels.operands import HasOperand, Operand, Product, side_by_side
from denken.model.layers import MLP, linear

# Of more rows an expert's own calls cost nothing beside its products.
MOST_ROWS = 1024


class Router(nn.Module):
    """Chooses experts for each token and weighs them."""

    e_score_correction_bias: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.sigmoid = config.family == "deepseek_v3"
        self.weight = nn.Parameter(torch.zeros(config.n_routed_experts, config.hidden_size))
        if self.sigmoid:
            self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))

    def forward(self, tokens_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Returns weights (N, S) in fp32 and the experts' indices (N, S)."""
        with torch.autocast(tokens_NM.device.type, enabled=False):
            logits_NX = linear(tokens_NM.float(), self.weight.float())
            if not torch.is_grad_enabled() and covers(logits_NX):
                return route(self.routing(), logits_NX)
        scores_NX = logits_NX.sigmoid() if self.sigmoid else logits_NX.softmax(dim=-1)
        chosen_NS = self._choose(scores_NX.detach())
        weights_NS = scores_NX.gather(1, chosen_NS)
        if self.config.norm_topk_prob:
            weights_NS = weights_NS / (weights_NS.sum(dim=-1, keepdim=True) + (1e-20 if self.sigmoid else 0.0))
        return weights_NS * self.config.routed_scaling_factor, chosen_NS

    def routing(self) -> Routing:
        """The same for native code, which chooses where nothing is learnt."""
        config = self.config
        return Routing(
            config.n_routed_experts,
            config.num_experts_per_tok,
            self.e_score_correction_bias.float() if self.sigmoid else None,
            config.n_group,
            config.topk_group,
            2 if self.sigmoid else 1,
            self.sigmoid,
            config.norm_topk_prob,
            config.routed_scaling_factor,
        )

    def _choose(self, scores_NX: Tensor) -> Tensor:
        """The bias moves who is chosen, never the weight of who was (DeepSeek-V3, equation 16)."""
        if self.sigmoid:
            scores_NX = scores_NX + self.e_score_correction_bias.float()
        groups = self.config.n_group
        if groups > 1:
            scores_NGX = scores_NX.unflatten(1, (groups, -1))
            # V3 ranks a group by its two best experts, V2 by its best.
            group_scores_NG = scores_NGX.topk(2 if self.sigmoid else 1, dim=-1).values.sum(dim=-1)
            best_NG = group_scores_NG.topk(self.config.topk_group, dim=-1).indices
            outside_NG = torch.ones_like(group_scores_NG, dtype=torch.bool).scatter_(1, best_NG, False)
            scores_NX = scores_NGX.masked_fill(outside_NG[..., None], float("-inf")).flatten(1)
        return scores_NX.topk(self.config.num_experts_per_tok, dim=-1).indices


class MixtureOfExperts(nn.Module):
    """Routed experts, and shared ones that see every token (DeepSeekMoE, Dai et al. 2024)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.moe_intermediate_size
        self.gate = Router(config)
        self.experts = nn.ModuleList(MLP(config.hidden_size, size) for _ in range(config.n_routed_experts))
        self.shared_experts = (
            MLP(config.hidden_size, size * config.n_shared_experts) if config.n_shared_experts else None
        )

    def forward(self, hidden_BTM: Tensor) -> Tensor:
        tokens_NM = hidden_BTM.flatten(0, 1)
        weights_NS, chosen_NS = self.gate(tokens_NM)
        out_NM = self._routed(tokens_NM, weights_NS, chosen_NS)
        if self.shared_experts is not None:
            out_NM = out_NM + self.shared_experts(tokens_NM)
        return out_NM.view_as(hidden_BTM)

    def _routed(self, tokens_NM: Tensor, weights_NS: Tensor, chosen_NS: Tensor) -> Tensor:
        """Tokens are sorted by expert, so that each expert runs once over the tokens that chose it."""
        order, counts = dealt(chosen_NS, len(self.experts))
        token = order // chosen_NS.shape[1]
        weight = weights_NS.flatten()[order]
        if (products := self._products(tokens_NM, counts)) is not None:
            some = [count for count in counts if count]
            return experts(tokens_NM, products, some, token, weight.contiguous()).to(tokens_NM.dtype)
        out_NM = torch.zeros_like(tokens_NM, dtype=torch.promote_types(tokens_NM.dtype, torch.float32))
        start = 0
        for expert, count in zip(self.experts, counts, strict=True):
            if count:
                rows = slice(start, start + count)
                out_NM = out_NM.index_add(
                    0, token[rows], (expert(tokens_NM[token[rows]]) * weight[rows, None]).to(out_NM.dtype)
                )
                start += count
        return out_NM.to(tokens_NM.dtype)

    def _products(self, tokens_NM: Tensor, counts: list[int]) -> list[tuple[Product, Product]] | None:
        """Where the chosen experts' numbers lie, for all of them in one call; None where that cannot be, or nothing is
        won by it."""
        if torch.is_grad_enabled() or not covers(tokens_NM) or max(counts) > MOST_ROWS:
            return None
        found = []
        for expert, count in zip(cast(Iterable[MLP], self.experts), counts, strict=True):
            if count:
                inner = side_by_side(
                    [_operand(layer, tokens_NM, count) for layer in (expert.gate_proj, expert.up_proj)]
                )
                outer = side_by_side([_operand(expert.down_proj, tokens_NM, count)])
                if inner is None or outer is None:
                    return None
                found.append((inner, outer))
        return found or None


def _operand(layer: nn.Module, like: Tensor, rows: int) -> Operand | None:
    """Where a layer's numbers lie; None where it must be called, because it cannot say so or somebody listens to it."""
    if layer._forward_hooks or not isinstance(layer, HasOperand):
        return None
    return layer.operand(like.dtype, rows)


def dealt(chosen_NS: Tensor, experts: int) -> tuple[Tensor, list[int]]:
    """The order of the N * S choices that puts each expert's together, and how many each expert got."""
    chosen = chosen_NS.flatten()
    return chosen.argsort(stable=True), chosen.bincount(minlength=experts).tolist()
