"""Attention for packed rows on a CPU: scores written out in full, as three batched products and a softmax.

The rows of a training batch are short (hundreds of tokens). There PyTorch's blocked attention kernel, which spares
memory, takes 1.5 to 2.5 times as long forwards and backwards as plain products over the written-out scores. Long rows
go to `denken.model.attention.Packed`, which is the same function. Scores are rounded to the network's type (bf16)
before the softmax, as in Hugging Face's "eager" attention.
"""

from __future__ import annotations

import torch
from torch import Tensor

from denken.model.attention import Packed

# B = rows, T = width, H = query heads, K = key heads, G = H / K, D = columns of a query or key, E = columns of a value

WIDEST = 1024


def packed(segments_BT: Tensor) -> Packed | DensePacked:
    """The faster of the two for rows of this width."""
    on_cpu = segments_BT.device.type == "cpu"
    return DensePacked(segments_BT) if on_cpu and segments_BT.shape[1] <= WIDEST else Packed(segments_BT)


class DensePacked:
    """A token sees its own document's earlier tokens and itself; segment -1 is padding, which sees only padding."""

    latent = False

    def __init__(self, segments_BT: Tensor) -> None:
        width = segments_BT.shape[1]
        same_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
        self._hidden_BTT = ~(same_BTT & torch.ones(width, width, dtype=torch.bool).tril())
        self._bias: Tensor | None = None

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        rows, width, heads, _ = query_BTHD.shape
        keys = key_BTKD.shape[2]
        group = heads // keys
        # Queries that share a key head go through one product: its rows are (G, T).
        query_NXD = (
            query_BTHD.unflatten(2, (keys, group)).permute(0, 2, 3, 1, 4).reshape(rows * keys, group * width, -1)
        )
        key_NTD = key_BTKD.transpose(1, 2).reshape(rows * keys, width, -1)
        value_NTE = value_BTKE.transpose(1, 2).reshape(rows * keys, width, -1)
        scores_NXT = torch.baddbmm(self._bias_for(query_NXD, keys, group), query_NXD, key_NTD.mT, alpha=scale)
        out_NXE = torch.bmm(scores_NXT.softmax(dim=-1), value_NTE)
        return out_NXE.view(rows, keys, group, width, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)

    def _bias_for(self, query_NXD: Tensor, keys: int, group: int) -> Tensor:
        """0 where a key is seen, a large negative number elsewhere; built once a forward and shared by its layers."""
        shape = (*query_NXD.shape[:2], self._hidden_BTT.shape[-1])
        if self._bias is None or self._bias.shape != shape or self._bias.dtype != query_NXD.dtype:
            bias_BTT = query_NXD.new_zeros(self._hidden_BTT.shape).masked_fill_(self._hidden_BTT, -1e9)
            rows, width, _ = bias_BTT.shape
            self._bias = bias_BTT[:, None, None].expand(rows, keys, group, width, width).reshape(shape)
        return self._bias
