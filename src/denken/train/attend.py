"""Attention for packed rows: on a CPU in kernels, or with scores written out in full; on a GPU in FlashAttention.

Kernels (`denken.model.kernels`) look at what a token sees and at nothing else. Without them there are three batched
products and a softmax: the rows of a training batch are short (hundreds of tokens), and there PyTorch's blocked kernel,
which spares memory, takes 1.5 to 2.5 times as long forwards and backwards. Long rows go to
`denken.model.attention.Packed`, which is the same function. Scores are rounded to the network's type (bf16) before the
softmax, as in Hugging Face's "eager" attention. The masks of that second way are made when it is first gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from denken.model.attention import Packed, _sdpa
from denken.model.kernels.attention import Attention, Stretch, to_table
from denken.model.kernels.call import covers
from denken.train.batch import beginnings

# B = rows, T = width, H = query heads, K = key heads, G = H / K, D = columns of a query or key, E = columns of a value

WIDEST = 1024


def packed(segments_BT: Tensor, starts_S: Tensor | None = None) -> Packed | DensePacked | Varlen:
    """The fastest for rows of this width. starts_S: as in `Batch.starts_S`, for a GPU."""
    if starts_S is not None and segments_BT.device.type == "cuda":
        return Varlen(starts_S, segments_BT.shape[1])
    on_cpu = segments_BT.device.type == "cpu"
    short = segments_BT.shape[1] <= WIDEST or covers(segments_BT.new_empty(0, dtype=torch.float32))
    return DensePacked(segments_BT) if on_cpu and short else Packed(segments_BT)


class DensePacked:
    """A token sees its own document's earlier tokens and itself; segment -1 is padding, which sees only padding."""

    latent = False

    def __init__(self, segments_BT: Tensor) -> None:
        self._segments_BT = segments_BT
        self._bias: Tensor | None = None
        self._stretches = to_table(_documents(segments_BT))

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        if _native(query_BTHD, key_BTKD, value_BTKE):
            flat = (x.flatten(0, 1).contiguous() for x in (query_BTHD, key_BTKD, value_BTKE))
            out_NHD: Tensor = Attention.apply(*flat, self._stretches, scale)
            return out_NHD.view(query_BTHD.shape)
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
        rows, width = self._segments_BT.shape
        shape = (*query_NXD.shape[:2], width)
        if self._bias is None or self._bias.shape != shape or self._bias.dtype != query_NXD.dtype:
            same_BTT = self._segments_BT[:, :, None] == self._segments_BT[:, None, :]
            bias_BTT = query_NXD.new_zeros(same_BTT.shape).masked_fill_(~same_BTT | _future(width), -1e9)
            self._bias = bias_BTT[:, None, None].expand(rows, keys, group, width, width).reshape(shape)
        return self._bias


class Varlen:
    """Documents one behind the other on a GPU, each by itself: FlashAttention over sequences of different lengths.

    starts_S: where each begins and the last one ends, over all rows. width: no document is longer. Networks in bf16.
    (Its backward adds in no fixed order: two runs differ in the last bits.)
    """

    latent = False

    def __init__(self, starts_S: Tensor, width: int) -> None:
        from torch.nn.attention.varlen import varlen_attn  # registers operators, which no CPU needs

        self._attention, self._starts_S, self._width = varlen_attn, starts_S, width

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        group = query_BTHD.shape[2] // key_BTKD.shape[2]
        size, value_size = query_BTHD.shape[-1], value_BTKE.shape[-1]
        if value_size < size:
            value_BTKE = F.pad(value_BTKE, (0, size - value_size))
        if group > 1:
            key_BTKD, value_BTKE = (x.repeat_interleave(group, dim=2) for x in (key_BTKD, value_BTKE))
        query_NHD, key_NHD, value_NHD = (x.flatten(0, 1) for x in (query_BTHD, key_BTKD, value_BTKE))
        starts, width = self._starts_S, self._width
        out_NHD = self._attention(
            query_NHD, key_NHD, value_NHD, starts, starts, width, width, window_size=(-1, 0), scale=scale
        )
        assert isinstance(out_NHD, Tensor)
        return out_NHD.view(query_BTHD.shape)[..., :value_size]


@dataclass(frozen=True, slots=True)
class Lanes:
    """Completions of nearly one length, one below the other: `rows` x `width` tokens; prompts[r]: row r's prompt."""

    rows: int
    width: int
    prompts: tuple[int, ...]


class SharedPrompts:
    """Completions that share their group's prompt, which is computed once, forwards and backwards.

    The tokens of the one row (B = 1) are, in this order: `len(lengths)` prompts, each filled up to `width`; then the
    tokens of every `Lanes`; then filling that nobody looks at. A prompt's token sees the prompt up to itself; a
    completion's token sees its whole prompt (the first `lengths[p]` tokens) and its own lane up to itself. Positions
    must go on from the prompt's true end; that is the caller's part.
    """

    latent = False

    def __init__(self, lengths: Sequence[int], width: int, lanes: Sequence[Lanes], filling: int) -> None:
        self.prompts, self.width, self.lanes, self.filling = len(lengths), width, lanes, filling
        self.sizes = [self.prompts * width, *(each.rows * each.width for each in lanes), filling]
        self._rows = [torch.tensor(each.prompts) for each in lanes]
        beyond_PX = torch.arange(width) >= torch.tensor(lengths)[:, None]
        self._hidden = [_future(width)[None]]
        for each, rows in zip(lanes, self._rows, strict=True):
            own_BTT = _future(each.width).expand(each.rows, -1, -1)
            prompt_BTX = beyond_PX[rows][:, None].expand(-1, each.width, -1)
            self._hidden.append(torch.cat((prompt_BTX, own_BTT), dim=2))
        self._biases: list[Tensor] = []
        self._stretches = to_table(list(self._spans(lengths)))

    def _spans(self, lengths: Sequence[int]) -> Iterator[Stretch]:
        """Every prompt and every lane, and what each sees."""
        for prompt in range(self.prompts):
            yield Stretch(prompt * self.width, self.width, 0, 0, prompt * self.width)
        start = self.prompts * self.width
        for each in self.lanes:
            for prompt in each.prompts:
                yield Stretch(start, each.width, prompt * self.width, lengths[prompt], start)
                start += each.width

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        if _native(query_BTHD, key_BTKD, value_BTKE):
            own = (x[0].contiguous() for x in (query_BTHD, key_BTKD, value_BTKE))
            out_NHD: Tensor = Attention.apply(*own, self._stretches, scale)
            return out_NHD[None]
        if not self._biases:
            self._biases = [torch.zeros(hidden.shape).masked_fill_(hidden, -1e9) for hidden in self._hidden]
        queries, keys, values = (x[0].split(self.sizes) for x in (query_BTHD, key_BTKD, value_BTKE))
        prompts = (self.prompts, self.width)
        prompt_key, prompt_value = keys[0].unflatten(0, prompts), values[0].unflatten(0, prompts)
        outs = [attend_to(queries[0].unflatten(0, prompts), prompt_key, prompt_value, self._biases[0], scale)]
        for i, (each, rows) in enumerate(zip(self.lanes, self._rows, strict=True), start=1):
            shape = (each.rows, each.width)
            key_BXKD = torch.cat((prompt_key[rows], keys[i].unflatten(0, shape)), dim=1)
            value_BXKE = torch.cat((prompt_value[rows], values[i].unflatten(0, shape)), dim=1)
            outs.append(attend_to(queries[i].unflatten(0, shape), key_BXKD, value_BXKE, self._biases[i], scale))
        flat = [out.flatten(0, 1) for out in outs]
        return torch.cat((*flat, flat[0].new_zeros(self.filling, *flat[0].shape[1:])))[None]


def attend_to(query_BTHD: Tensor, key_BXKD: Tensor, value_BXKE: Tensor, bias_BTX: Tensor, scale: float) -> Tensor:
    """Softmax attention of T queries over X keys a row, what is hidden being a large negative number in the bias."""
    if query_BTHD.device.type != "cpu" or max(bias_BTX.shape[1:]) > WIDEST:
        return _sdpa(query_BTHD, key_BXKD, value_BXKE, scale, bias_BTX[:, None].to(query_BTHD.dtype))
    rows, width, heads, _ = query_BTHD.shape
    keys = key_BXKD.shape[2]
    group = heads // keys
    query_NYD = query_BTHD.unflatten(2, (keys, group)).permute(0, 2, 3, 1, 4).reshape(rows * keys, group * width, -1)
    key_NXD, value_NXE = (x.transpose(1, 2).flatten(0, 1) for x in (key_BXKD, value_BXKE))
    out_NYE: Tensor = _WrittenOut.apply(query_NYD, key_NXD, value_NXE, bias_BTX, scale)
    return out_NYE.view(rows, keys, group, width, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)


class _WrittenOut(torch.autograd.Function):
    """softmax(q k scale + bias) v over written-out scores; of them only the probabilities are kept for backward.

    Products are in fp32 whatever the network's type. For a bf16 network scores are rounded before the softmax,
    probabilities after it and sums at the end, which is where the engine rounds, so that the two agree. (Products in
    bf16 would also leave a program of oneDNN's behind for every shape, and shapes differ from batch to batch.)
    """

    @staticmethod
    def forward(
        ctx: Any, query_NYD: Tensor, key_NXD: Tensor, value_NXE: Tensor, bias_BTX: Tensor, scale: float
    ) -> Tensor:
        rows, width, length = bias_BTX.shape
        scores_NYX = torch.bmm(query_NYD.float() * scale, key_NXD.float().mT)
        scores_NYX.view(rows, -1, width, length).add_(bias_BTX[:, None])
        probs_NYX = scores_NYX.to(query_NYD.dtype).softmax(dim=-1)
        out_NYE = torch.bmm(probs_NYX.float(), value_NXE.float())
        ctx.save_for_backward(query_NYD, key_NXD, value_NXE, probs_NYX, out_NYE)
        ctx.scale = scale
        return out_NYE.to(query_NYD.dtype)

    @staticmethod
    def backward(ctx: Any, grad_NYE: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Of the scores: probabilities times how far the gradient of each is from their mean, which is gradient times
        output."""
        query_NYD, key_NXD, value_NXE, probs_NYX, out_NYE = ctx.saved_tensors
        kind = query_NYD.dtype
        probs_NYX, grad_NYE = probs_NYX.float(), grad_NYE.float()
        value_grad_NXE = torch.bmm(probs_NYX.mT, grad_NYE)
        grad_NYX = torch.bmm(grad_NYE, value_NXE.float().mT)
        mean_NY1 = (grad_NYE * out_NYE).sum(dim=-1, keepdim=True)
        grad_NYX = grad_NYX.sub_(mean_NY1).mul_(probs_NYX).mul_(ctx.scale)
        query_grad_NYD = torch.bmm(grad_NYX, key_NXD.float())
        key_grad_NXD = torch.bmm(grad_NYX.mT, query_NYD.float())
        return query_grad_NYD.to(kind), key_grad_NXD.to(kind), value_grad_NXE.to(kind), None, None


def _native(query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor) -> bool:
    """Whether there are kernels for these."""
    return covers(query_BTHD, key_BTKD, value_BTKE) and key_BTKD.shape == value_BTKE.shape


def _documents(segments_BT: Tensor) -> list[Stretch]:
    """Every document (and stretch of padding) of the rows, which lie one behind the other."""
    rows, width = segments_BT.shape
    starts = [*beginnings(segments_BT).tolist(), rows * width]
    return [Stretch(start, end - start, 0, 0, start) for start, end in pairwise(starts)]


def _future(width: int) -> Tensor:
    """Which keys lie after each query (T, T)."""
    return torch.ones(width, width, dtype=torch.bool).triu(1)
