"""Attention: grouped-query (Llama, Qwen) and multi-head latent (DeepSeek), and who may look at whom.

The modules project and rotate; an `Attend` decides which keys each query sees. Training uses `Causal` or `Packed`
below; the engine brings its own, which reads and writes its cache. The modules know neither caches nor requests.
"""

# B = rows, T = tokens, H = query heads, K = key heads, D = columns of a query or key, E = columns of a value
# C = kv_lora_rank (compressed latent), R = rotary columns, N = columns without position, M = hidden size

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.model.config import ModelConfig
from denken.model.kernels import bf16
from denken.model.kernels.call import covers
from denken.model.kernels.products import multiply
from denken.model.layers import Linear, RMSNorm
from denken.model.rope import mscale, rotate

Angles = tuple[Tensor, Tensor]


class Attend(Protocol):
    """Which keys each query sees, and where keys and values come from.

    layer: index of the layer that asks. query (B, T, H, D); key (B, T, K, D), H a multiple of K; value (B, T, K, E).
    scale: what scores are multiplied with before the softmax. Returns (B, T, H, E).

    latent: an attend that sets it True is handed MLA's absorbed form: K = 1, key = compressed latent ‖ rotary key
    (C + R columns), value None, and must return the weighted sum of the keys' first C columns (B, T, H, C).
    Otherwise MLA arrives expanded, with real values and as many key heads as query heads.
    """

    latent: bool

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """What a cache must hold for one token: `layers` x `kv_heads` x (`key_size` + `value_size`) numbers.

    value_size 0 means that a value is its key's first `latent_size` columns (MLA).
    """

    layers: int
    kv_heads: int
    key_size: int
    value_size: int
    latent_size: int = 0


class Causal:
    """Every row is one document: a token sees itself and what came before."""

    latent = False

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        return _sdpa(query_BTHD, key_BTKD, value_BTKE, scale, None)


class Packed:
    """Rows that hold several documents: a token sees its own document's earlier tokens.

    segments_BT: a document's number at each of its tokens; -1 is padding, which sees only padding.
    Positions must restart at 0 with each document; that is the caller's part.

    The mask is built once a batch. Queries are taken in windows that skip the keys which none of them sees: with
    documents shorter than rows that is most keys.
    """

    latent = False
    window = 256

    def __init__(self, segments_BT: Tensor) -> None:
        tokens = segments_BT.shape[1]
        same_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
        causal_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=segments_BT.device).tril()
        mask_B1TT = (same_BTT & causal_TT)[:, None]
        self.windows: list[tuple[slice, slice, Tensor]] = []
        for start in range(0, tokens, self.window):
            queries = slice(start, min(start + self.window, tokens))
            seen_T = mask_B1TT[:, 0, queries].any(dim=1).any(dim=0)
            keys = slice(int(seen_T.to(torch.uint8).argmax()), queries.stop)
            self.windows.append((queries, keys, mask_B1TT[:, :, queries, keys]))

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        outs = [
            _sdpa(query_BTHD[:, queries], key_BTKD[:, keys], value_BTKE[:, keys], scale, mask_B1TT)
            for queries, keys, mask_B1TT in self.windows
        ]
        return outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)


def _sdpa(query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Softmax attention, plainly causal where `mask` is None."""
    size, value_size = query_BTHD.shape[-1], value_BTKE.shape[-1]
    if size != value_size and query_BTHD.device.type == "cpu":
        # The CPU's fast kernel wants values as wide as keys: columns of zeros change neither scores nor sums.
        widest = max(size, value_size)
        query_BTHD, key_BTKD = (F.pad(x, (0, widest - size)) for x in (query_BTHD, key_BTKD))
        value_BTKE = F.pad(value_BTKE, (0, widest - value_size))
    out_BHTE = F.scaled_dot_product_attention(
        query_BTHD.transpose(1, 2),
        key_BTKD.transpose(1, 2),
        value_BTKE.transpose(1, 2),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=query_BTHD.shape[2] != key_BTKD.shape[2],
    )
    return out_BHTE.transpose(1, 2)[..., :value_size]


class Beside(Protocol):
    """What is added where the up-projection of latent attention is absorbed: some rows may have a change of it."""

    def lifted(self, query_BTHN: Tensor) -> Tensor:
        """To queries in the latent's columns (B, T, H, C)."""
        ...

    def lowered(self, seen_BTHC: Tensor) -> Tensor:
        """To what the heads give (B, T, H, E)."""
        ...


class GroupedAttention(nn.Module):
    """Grouped-query attention; with biases (Qwen2) or with each head's queries and keys normalised (Qwen3)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.scale = config.head_dim**-0.5
        query_size = config.num_attention_heads * config.head_dim
        key_size = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, query_size, bias=config.qkv_bias)
        self.k_proj = Linear(config.hidden_size, key_size, bias=config.qkv_bias)
        self.v_proj = Linear(config.hidden_size, key_size, bias=config.qkv_bias)
        self.o_proj = Linear(query_size, config.hidden_size, bias=config.attention_bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None

    def forward(self, hidden_BTM: Tensor, angles: Angles, attend: Attend) -> Tensor:
        query_BTHD = self.q_proj(hidden_BTM).unflatten(-1, (-1, self.head_dim))
        key_BTKD = self.k_proj(hidden_BTM).unflatten(-1, (-1, self.head_dim))
        value_BTKD = self.v_proj(hidden_BTM).unflatten(-1, (-1, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            query_BTHD, key_BTKD = self.q_norm(query_BTHD), self.k_norm(key_BTKD)
        query_BTHD, key_BTKD = rotate(query_BTHD, *angles), rotate(key_BTKD, *angles)
        out_BTHD = attend(self.layer, query_BTHD, key_BTKD, value_BTKD, self.scale)
        out_BTM: Tensor = self.o_proj(out_BTHD.flatten(2))
        return out_BTM


class LatentAttention(nn.Module):
    """Multi-head latent attention (DeepSeek-V2, section 2.1): keys and values come from one small latent a token.

    Expanded, each head gets its own keys and values (cheaper for many tokens at once). Absorbed, the up-projections
    move to the query and output side and heads attend over the latent itself (cheaper with a cache). Both are the
    same function; `attend.latent` chooses.

    beside: what is added in the absorbed form; None everywhere but in an engine's steps with adapters.
    """

    beside: Beside | None = None

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.num_attention_heads
        self.latent, self.rotary = config.kv_lora_rank, config.qk_rope_head_dim
        self.plain, self.value = config.qk_nope_head_dim, config.v_head_dim
        self.interleaved = config.rope_interleave
        self.scale = latent_scale(config)
        hidden, bias = config.hidden_size, config.attention_bias
        query_size = self.heads * (self.plain + self.rotary)
        # DeepSeek's inner norms keep an epsilon of 1e-6 whatever rms_norm_eps says.
        if config.q_lora_rank is None:
            self.q_proj = Linear(hidden, query_size, bias=False)
        else:
            self.q_a_proj = Linear(hidden, config.q_lora_rank, bias=bias)
            self.q_a_layernorm = RMSNorm(config.q_lora_rank, 1e-6)
            self.q_b_proj = Linear(config.q_lora_rank, query_size, bias=False)
        self.compressed_query = config.q_lora_rank is not None
        self.kv_a_proj_with_mqa = Linear(hidden, self.latent + self.rotary, bias=bias)
        self.kv_a_layernorm = RMSNorm(self.latent, 1e-6)
        self.kv_b_proj = Linear(self.latent, self.heads * (self.plain + self.value), bias=False)
        self.o_proj = Linear(self.heads * self.value, hidden, bias=bias)

    def forward(self, hidden_BTM: Tensor, angles: Angles, attend: Attend) -> Tensor:
        if self.compressed_query:
            query_BTHD = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(hidden_BTM)))
        else:
            query_BTHD = self.q_proj(hidden_BTM)
        query_BTHN, query_BTHR = query_BTHD.unflatten(-1, (self.heads, -1)).split((self.plain, self.rotary), dim=-1)
        latent_BTC, key_BTR = self.kv_a_proj_with_mqa(hidden_BTM).split((self.latent, self.rotary), dim=-1)
        latent_BTC = self.kv_a_layernorm(latent_BTC)
        query_BTHR = rotate(query_BTHR, *angles, interleaved=self.interleaved)
        key_BT1R = rotate(key_BTR[:, :, None], *angles, interleaved=self.interleaved)
        form = self._absorbed if attend.latent else self._expanded
        out_BTHE = form(query_BTHN, query_BTHR, latent_BTC, key_BT1R, attend)
        out_BTM: Tensor = self.o_proj(out_BTHE.flatten(2))
        return out_BTM

    def _expanded(
        self, query_BTHN: Tensor, query_BTHR: Tensor, latent_BTC: Tensor, key_BT1R: Tensor, attend: Attend
    ) -> Tensor:
        up_BTHX = self.kv_b_proj(latent_BTC).unflatten(-1, (self.heads, -1))
        key_BTHN, value_BTHE = up_BTHX.split((self.plain, self.value), dim=-1)
        query_BTHD = torch.cat((query_BTHN, query_BTHR), dim=-1)
        key_BTHD = torch.cat((key_BTHN, key_BT1R.expand(-1, -1, self.heads, -1)), dim=-1)
        return attend(self.layer, query_BTHD, key_BTHD, value_BTHE, self.scale)

    def _absorbed(
        self, query_BTHN: Tensor, query_BTHR: Tensor, latent_BTC: Tensor, key_BT1R: Tensor, attend: Attend
    ) -> Tensor:
        up_HXC = self.kv_b_proj.weight.view(self.heads, -1, self.latent)
        key_up_HNC, value_up_HEC = up_HXC[:, : self.plain], up_HXC[:, self.plain :]
        query_BTHC = _by_heads(query_BTHN, key_up_HNC.transpose(1, 2))
        if self.beside is not None:
            query_BTHC = query_BTHC + self.beside.lifted(query_BTHN)
        query_BTHD = torch.cat((query_BTHC, query_BTHR), dim=-1)
        key_BT1D = torch.cat((latent_BTC[:, :, None], key_BT1R), dim=-1)
        out_BTHC = attend(self.layer, query_BTHD, key_BT1D, None, self.scale)
        out_BTHE = _by_heads(out_BTHC, value_up_HEC)
        return out_BTHE if self.beside is None else out_BTHE + self.beside.lowered(out_BTHC)


def _by_heads(x_BTHI: Tensor, matrices_HOI: Tensor) -> Tensor:
    """Each head's rows times its own matrix: (B, T, H, O). Where nothing is learnt, as native code does it."""
    if not torch.is_grad_enabled() and covers(x_BTHI, matrices_HOI):
        x_NHI, shape = x_BTHI.flatten(0, 1), x_BTHI.shape[:2]
        if x_BTHI.dtype == torch.float32:
            heads = [multiply(x_NHI[:, head], own_OI.t()) for head, own_OI in enumerate(matrices_HOI)]
            return torch.stack(heads, dim=1).unflatten(0, shape)
        if len(x_NHI) <= bf16.FEW_OF_HEADS and matrices_HOI.shape[1] % 16 == 0:
            return bf16.by_heads(x_NHI, matrices_HOI).unflatten(0, shape)
    return torch.einsum("bthi,hoi->btho", x_BTHI, matrices_HOI)


def latent_scale(config: ModelConfig) -> float:
    """The factor on MLA's scores: one over the root of the head's size, times DeepSeek's yarn temperature squared."""
    scale = 1 / math.sqrt(config.qk_nope_head_dim + config.qk_rope_head_dim)
    scaling = config.rope_scaling
    if scaling is None or not scaling.mscale_all_dim:
        return scale
    return scale * mscale(scaling.factor, scaling.mscale_all_dim) ** 2
