"""Multi-token prediction: a layer behind the network that says what follows the next id (DeepSeek-V3, section 2.2).

It reads what the network says of a token together with the embedding of the id that came next, passes both through one
more layer, and gives, through the network's own head, the id after that. Embedding and head are the network's; the
layer's weights stand behind the last layer's in a checkpoint. Only an engine's guesses are made with it
(`denken.engine.drafts`): the trainer and every plain step do without.
"""

# B = rows, T = tokens, M = hidden size

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from denken.model.attention import Angles, Attend
from denken.model.checkpoint import Weights, read_config
from denken.model.config import ModelConfig
from denken.model.layers import Linear, RMSNorm
from denken.model.transformer import Block

log = logging.getLogger(__name__)


class MultiTokenPrediction(Block):
    """The first of such layers. Its keys and values are kept apart from the network's, as those of a layer 0.

    >>> config = ModelConfig("qwen3", vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
    ...                      num_attention_heads=2)
    >>> sorted(name for name, _ in MultiTokenPrediction(config).named_children())[:4]
    ['eh_proj', 'enorm', 'hnorm', 'input_layernorm']
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.num_hidden_layers)
        self.self_attn.layer = 0
        size, eps = config.hidden_size, config.rms_norm_eps
        self.enorm, self.hnorm = RMSNorm(size, eps), RMSNorm(size, eps)
        self.eh_proj = Linear(2 * size, size, bias=False)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(size, eps)})

    def hidden(self, said_BTM: Tensor, next_BTM: Tensor, angles: Angles, attend: Attend) -> Tensor:
        """What the layer says of each token (B, T, M), to be read by `normed`, or as `said_BTM` of the token after.

        said_BTM: what the network says of it, after its final norm. next_BTM: the embedding of the id that follows.
        """
        joined_BTX = torch.cat((self.enorm(next_BTM), self.hnorm(said_BTM)), dim=-1)
        out_BTM: Tensor = self(self.eh_proj(joined_BTX), angles, attend)
        return out_BTM

    def normed(self, hidden: Tensor) -> Tensor:
        """What the network's head turns into logits of the id after the next (..., M)."""
        out: Tensor = self.shared_head["norm"](hidden)
        return out


def load(folder: Path, dtype: torch.dtype) -> MultiTokenPrediction | None:
    """The first such layer that a folder holds, in this precision; None where it holds none that can be read.

    Quantised ones (int8, int4) are not read. Raises CheckpointError where what is there does not fit config.json.
    """
    config = read_config(folder)
    if not config.num_nextn_predict_layers:
        return None
    with torch.device("meta"):
        layer = MultiTokenPrediction(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    found = Weights.open(folder).beyond(f"model.layers.{config.num_hidden_layers}.", shapes, dtype)
    if found is None:
        log.info("%s: config.json speaks of multi-token prediction, and the files hold no whole layer of it", folder)
        return None
    layer.load_state_dict(found, strict=True, assign=True)
    return layer.eval()
