"""The same network in native kernels (`denken.model.kernels`): what a step of many small rows spends its time between.

Queries, keys and values come from one product, gate and up from another; everything between two products is one pass
over memory. A step goes through all layers in one call (`kernels/decode.py`), prompts read beside those who decode
included; or several steps do in which everybody decodes, with what they draw. A step that reads long prompts, or has
adapters, goes a kernel at a time. In fp32, in whole numbers, and in bf16 where a network is small and the processor
multiplies pairs, every number is the one that `denken.model` computes for that token, to the bit; in bf16 elsewhere
sums may be added up in another order.

The weights of small networks, and of fp32 ones up to COPIED, are copies, taken anew by `refresh` (in two bytes each
where fp32 weights are all exactly bf16, as a folder in bf16 leaves them); those of quantised and of large bf16 networks
are shared with the model. The head is multiplied in fp32, or in bf16 with sums in fp32, unless an engine is told to do
it in whole numbers: read once for every token, a bf16 head costs more than half of an int4 network. Covers dense
networks with grouped attention.
"""

# N = tokens of the step (one row), M = hidden size, I = feed-forward size, H = query heads, K = key heads,
# D = columns of a head, F = D / 2, V = vocabulary, P = positions

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from denken.engine import fused
from denken.engine.fused import Fused, is_small, norms_of
from denken.engine.paged import Paged
from denken.engine.products import AnyProduct, Halves, product
from denken.model.attention import Attend, GroupedAttention
from denken.model.compressed import bytes_of, compressed_layers
from denken.model.kernels import bf16, operands
from denken.model.kernels.build import library
from denken.model.kernels.call import covers
from denken.model.kernels.decode import Ahead, Decoder, Ends, Going, Guessing, Layer, Seats
from denken.model.kernels.elementwise import LONGEST_NORM, gated, norm, norm_turned
from denken.model.kernels.integers import whole_numbers
from denken.model.kernels.products import Packed, multiply
from denken.model.layers import MLP
from denken.model.quantized import is_quantised
from denken.model.transformer import Block, Transformer

# fp32 networks of up to so many bytes are copied, though copies cost something: read as they lie, where each matrix is
# packed in each step, 135 million weights say a fifth as much in one stream.
COPIED = 2 << 30
# Up to so many bytes of a folder PyTorch's own products are made in fp32: of one token at a time it makes those sooner.
UNAIDED = 1 << 30
# Of more tokens than this the calls of Python's cost nothing, and one after the other they need less memory.
MOST_READ = 256

Product = Callable[[Tensor], Tensor]
# Adds to what a product of a layer ("qkv", "out", "gate_up", "down") made of its inputs, in place.
Beside = Callable[[int, str, Tensor, Tensor], None]


@dataclass(slots=True)
class NativeLayer:
    """One layer's weights. turn (H + K, D): the norms of queries and keys, None where there are none."""

    before_attention: Tensor
    qkv: AnyProduct
    turn: Tensor | None
    out: AnyProduct
    before_mlp: Tensor
    gate_up: AnyProduct
    down: AnyProduct


class Decodes(Fused):
    """What goes through all layers in one call, and says several ids in one, where these are a `Decoder`'s.

    head: "int8" or "int4", where logits are to be computed from a head rounded to that; None: from the head as it is.
    most_read: of how many tokens a step that reads prompts may be such a call.
    """

    decoder: Decoder | None
    most_read: int

    def __init__(self, model: Transformer, head: str | None = None) -> None:
        self.head_kind = head
        super().__init__(model)

    def _take_head(self) -> None:
        self._head_product, self._head_numbers = _head(self.model, self.head_kind)
        if self.head_kind is not None:
            give_back()
        self._angles = (torch.empty(0), torch.empty(0))

    def _in_one_call(self, ids_BT: Tensor, positions_BT: Tensor, attend: Attend) -> Tensor | None:
        """As `Transformer.hidden`, for one row of ids; None where that takes several."""
        if self.decoder is None or not isinstance(attend, Paged) or (seats := attend.seats()) is None:
            return None
        if seats.pieces and ids_BT.shape[1] > self.most_read:
            return None
        cos_NF, sin_NF = (x[0, :, 0].contiguous() for x in self.model.rotary(positions_BT))
        x_NM: Tensor = self.model.model["embed_tokens"](ids_BT[0])
        return self.decoder(x_NM, cos_NF, sin_NF, seats)[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return self._head_product(hidden)

    @property
    def goes_ahead(self) -> bool:
        """Whether `ahead` can be asked."""
        return self.decoder is not None and self._head_numbers is not None

    def ahead(self, going: Going, seats: Seats, seconds: float, guessing: Guessing | None) -> Ahead:
        """As `Decoder.ahead`: what sequences say that need nothing but the network for a while."""
        self.keep_up()
        assert self.decoder is not None
        assert self._head_numbers is not None
        cos_PF, sin_PF = self._angles_of(max(going.positions_S) + len(going.noise_ST[0]))
        embedding_VM = cast(Tensor, self.model.model["embed_tokens"].weight)
        ends = Ends(embedding_VM, cos_PF, sin_PF, self._head_numbers)
        return self.decoder.ahead(going, ends, seats, seconds, guessing)

    def _angles_of(self, positions: int) -> tuple[Tensor, Tensor]:
        """Of at least the first so many positions; made twice as long where it is too short."""
        known = len(self._angles[0])
        if known < positions:
            wanted = min(max(positions, 2 * known, 512), max(positions, self.config.max_position_embeddings))
            cos_BP1F, sin_BP1F = self.model.rotary(torch.arange(wanted)[None])
            self._angles = cos_BP1F[0, :, 0].contiguous(), sin_BP1F[0, :, 0].contiguous()
        return self._angles


class Native(Decodes):
    """Stands in for `model` where logits are wanted and gradients are not. Raises nothing that the model does not.

    beside: what is added to the layers' products in a step with rows that have an adapter (see `adapters.py`); None in
        every other step. A way that does not go through `_product` is only for steps without it.
    """

    beside: Beside | None = None

    @staticmethod
    def covers(model: Transformer) -> bool:
        config, like = model.config, next(model.parameters())
        if config.is_latent or config.n_routed_experts or config.hidden_size > LONGEST_NORM or not covers(like):
            return False
        alike = all(p.dtype == like.dtype and p.device == like.device for p in model.parameters())
        return alike and (like.dtype == torch.bfloat16 or is_copied(model) or is_quantised(model))

    @torch.inference_mode()
    def refresh(self) -> None:
        """Takes the model's weights as they are now."""
        self._look_at_weights()
        self.native = []
        for block in self.model.blocks:
            self.native.append(self._native_layer(block))
            if is_quantised(block):
                give_back()
        self._take_head()
        self.decoder = self._decoder()
        halves = any(isinstance(layer.qkv, Halves) for layer in self.native)
        self.most_read = min(bf16.most_rows(), MOST_READ) if halves else MOST_READ

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """As `Transformer.hidden`, for one row of ids; positions and attend must be given."""
        assert positions_BT is not None
        assert attend is not None
        self.keep_up()
        if self.beside is None and (found := self._in_one_call(ids_BT, positions_BT, attend)) is not None:
            return found
        config, model = self.config, self.model
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        eps, scale, size = config.rms_norm_eps, config.head_dim**-0.5, config.intermediate_size
        cos_NF, sin_NF = (x[0, :, 0].contiguous() for x in model.rotary(positions_BT))
        x_NM: Tensor = model.model["embed_tokens"](ids_BT[0])
        for number, layer in enumerate(self.native):
            qkv_NX = self._product(number, "qkv", norm(x_NM, layer.before_attention, eps))
            qkv_NAD = qkv_NX.unflatten(-1, (-1, config.head_dim))
            turned_NAD = norm_turned(qkv_NAD[:, : heads + keys], layer.turn, eps, cos_NF, sin_NF)
            query_NHD, key_NKD = turned_NAD[:, :heads], turned_NAD[:, heads:]
            seen_NHD = attend(number, query_NHD[None], key_NKD[None], qkv_NAD[None, :, heads + keys :], scale)[0]
            x_NM.add_(self._product(number, "out", seen_NHD.flatten(1)))
            inner_NX = self._product(number, "gate_up", norm(x_NM, layer.before_mlp, eps))
            x_NM.add_(self._product(number, "down", gated(inner_NX[:, :size], inner_NX[:, size:])))
        return norm(x_NM, cast(Tensor, model.model["norm"].weight), eps)[None]

    def _product(self, number: int, part: str, x_NI: Tensor) -> Tensor:
        product: AnyProduct = getattr(self.native[number], part)
        out_NO = product(x_NI)
        if self.beside is not None:
            self.beside(number, part, x_NI, out_NO)
        return out_NO

    def _decoder(self) -> Decoder | None:
        """All layers in one call; None where a layer's products are not all native code's."""
        layers = []
        for own in self.native:
            products = [product.native() for product in (own.qkv, own.out, own.gate_up, own.down)]
            whole = [product for product in products if product is not None]
            if len(whole) < len(products):
                return None
            qkv, out, gate_up, down = whole
            norms = own.before_attention, own.before_mlp
            layers.append(Layer(*norms, out, own.turn, qkv, gate_up=gate_up, down=down))
        config = self.config
        heads = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.head_dim
        last_M = cast(Tensor, self.model.model["norm"].weight)
        return Decoder(layers, last_M, config.intermediate_size, heads, config.rms_norm_eps, config.head_dim**-0.5)

    def _native_layer(self, block: nn.Module) -> NativeLayer:
        assert isinstance(block, Block)
        attention, mlp = block.self_attn, block.mlp
        assert isinstance(attention, GroupedAttention)
        assert isinstance(mlp, MLP)
        copies = is_copied(self.model)

        def one(*layers: nn.Module) -> AnyProduct:
            return product(layers, block.input_layernorm.weight.dtype, copies=copies)

        return NativeLayer(
            block.input_layernorm.weight,
            one(attention.q_proj, attention.k_proj, attention.v_proj),
            norms_of(attention),
            one(attention.o_proj),
            block.post_attention_layernorm.weight,
            one(mlp.gate_proj, mlp.up_proj),
            one(mlp.down_proj),
        )


def precision(own: torch.dtype, numbers: int, stored: int, *, on_gpu: bool = False) -> torch.dtype:
    """In which type a network is computed: the one in which it says most, and none that rounds what is stored, but of
    large networks in fp16.

    own: in which it is stored. numbers: how many weights are no codes. stored: bytes of all of them.
    """
    if on_gpu or library() is None:
        return torch.float32 if stored < UNAIDED else own
    small = torch.float32.itemsize * numbers <= fused.LARGEST
    if own == torch.float32 or (small and not (own == torch.bfloat16 and bf16.in_panels(2))):
        return torch.float32
    return torch.bfloat16


def is_copied(model: Transformer) -> bool:
    """Whether weights are copied into the order in which products read them fastest."""
    if all(p.dtype == torch.float32 for p in model.parameters()):
        return bytes_of(model) <= COPIED
    return is_small(model)


def give_back() -> None:
    """Returns to the system what the heap keeps of numbers that have been packed: as much again as an int4 network."""
    with contextlib.suppress(AttributeError, OSError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)


def _head(model: Transformer, kind: str | None) -> tuple[Product, operands.Product | None]:
    """Hidden states (N, M) to logits in fp32: at 30, rounding them to bf16 would be by a sixteenth. And where the
    head's numbers lie, if kernels can be told."""
    weight_VM = model.head_weight.detach()
    size, hidden = weight_VM.shape
    if kind is not None:
        whole = whole_numbers(weight_VM, 8 if kind == "int8" else 4)
        table = None if whole.packed is None else torch.tensor([whole.packed.row()])
        numbers = None if table is None else operands.Product(operands.INTEGERS, table, None, hidden, size)
        return lambda hidden_NM: whole(hidden_NM.float()), numbers
    if is_copied(model):
        packed = Packed(weight_VM.float().t())
        return lambda hidden_NM: packed(hidden_NM.float()), operands.Product.of(packed)
    if weight_VM.dtype == torch.float32:
        return lambda hidden_NM: multiply(hidden_NM, weight_VM.t()), None
    codes = bf16.codes_of(weight_VM) if compressed_layers(model) else None
    matrix = bf16.AsItLies(weight_VM) if codes is None else bf16.Compressed(weight_VM, codes)
    numbers = operands.Product(operands.BF16, matrix.table, None, hidden, size)
    return lambda hidden_NM: matrix(hidden_NM, torch.float32), numbers
