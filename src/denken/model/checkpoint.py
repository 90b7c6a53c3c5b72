"""Weights on disk: Hugging Face folders, read and written.

`load` gives a `Transformer`, `save` a folder that transformers and every other reader of the format opens: config.json
with model.safetensors, or with shards and model.safetensors.index.json. `Weights` and `write` do the same tensor by
tensor, for models that are changed without being built. Everything is compared with the configuration before a byte
of weights is read. A single file is `tensorfile.py`'s; optimiser states are the trainer's; pickled weights are never
opened.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from denken.errors import CheckpointError, quoted
from denken.model import fp8, quantized, tensorfile
from denken.model.config import ModelConfig
from denken.model.quantized import Scheme
from denken.model.tensorfile import Entry
from denken.model.transformer import Transformer

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SCALE = "_scale_inv"  # what fp8 checkpoints append to a weight's name
ROUTER_BIAS = "e_score_correction_bias"  # always fp32: in bf16 its small steps would vanish
SAVE_ID = "denken_save"  # the same in every shard of one save

log = logging.getLogger(__name__)


def read_config(folder: Path) -> ModelConfig:
    """The configuration in `folder/config.json`; CheckpointError if unreadable, ConfigError if not supported."""
    return ModelConfig.from_hf(tensorfile.read_json(Path(folder) / "config.json"))


def load(folder: Path, *, dtype: torch.dtype | None = None, whole: bool = False) -> Transformer:
    """Reads a model onto the CPU.

    dtype: the weights' precision; None is the precision in which the files hold most numbers (fp8 becomes bf16).
    whole: no layer stays quantised; int8 and int4 become numbers of that precision, too.
    Raises CheckpointError, naming tensors, where the files do not hold exactly the configuration's model.
    """
    return Weights.open(folder).model(dtype, whole=whole)


def blank(config: ModelConfig, layers: Mapping[str, Scheme] | None = None) -> Transformer:
    """A model without numbers, on the meta device: names, shapes and nothing else. layers: those that are quantised."""
    with torch.device("meta"):
        model = Transformer(config)
    quantized.replace_linears(model, layers or {})
    return model


def _stays(name: str) -> bool:
    """Whether a layer that is stored quantised computes so, too."""
    return name.rpartition(".")[2] not in quantized.READ_DIRECTLY


def skipped_tensors(folder: Path) -> tuple[str, ...]:
    """Names of tensors that a folder holds and `load` leaves out: layers of multi-token prediction, old RoPE tables."""
    files = _Files.open(Path(folder))
    return tuple(sorted(name for name in files.entries if files.is_skipped(name)))


@dataclass(frozen=True)
class Weights:
    """A folder's weights, held against its configuration and not yet read.

    shapes: every tensor of the model, by name, as if no layer were quantised. dtype: the precision of most numbers
    (fp8 becomes bf16; codes do not count). quantised: the layers stored as int8 or int4, by name.
    """

    config: ModelConfig
    shapes: Mapping[str, tuple[int, ...]]
    dtype: torch.dtype
    quantised: Mapping[str, Scheme]
    _files: _Files

    @classmethod
    def open(cls, folder: Path) -> Weights:
        """CheckpointError, naming tensors, where the files do not hold exactly the configuration's model."""
        files = _Files.open(Path(folder))
        files.check_count()
        model = blank(files.config)
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        layers = files.quantised(model)
        stored = quantized.replace_linears(model, layers).state_dict()
        files.check(stored)
        return cls(files.config, shapes, files.common_dtype(stored), layers, files)

    @property
    def numbers(self) -> int:
        """How many there are, codes of quantised layers not counted."""
        codes = {f"{layer}.weight" for layer in self.quantised}
        return sum(math.prod(shape) for name, shape in self.shapes.items() if name not in codes)

    def model(self, dtype: torch.dtype | None = None, *, whole: bool = False) -> Transformer:
        """All of them in a model; arguments as for `load`."""
        kept = {name: scheme for name, scheme in self.quantised.items() if not whole and _stays(name)}
        model = blank(self.config, kept)
        model.load_state_dict(dict(self.all(dtype or self.dtype, kept)), strict=True, assign=True)
        return model

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor of the model, in memory of its own; dequantised where it is stored as int8 or int4."""
        layer = name.removesuffix(".weight")
        if layer in self.quantised:
            return self._files.dequantised(layer, self.quantised[layer]).to(dtype or self.dtype)
        return next(self._files.weights([name], dtype or self.dtype))[1]

    def all(self, dtype: torch.dtype, kept: Collection[str] = ()) -> Iterator[tuple[str, Tensor]]:
        """Every tensor, file by file. kept: quantised layers that come as they are stored; the others' follow last."""
        dequantised = [f"{layer}.weight" for layer in self.quantised if layer not in kept]
        stored = [name for name in self.shapes if name not in dequantised and name.removesuffix(".weight") not in kept]
        for layer in kept:
            stored += [f"{layer}.{name}" for name in self.quantised[layer].shapes(1, 1)]
        yield from self._files.weights(stored, dtype)
        for name in dequantised:
            yield name, self.read(name, dtype)

    def beyond(
        self, prefix: str, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype
    ) -> dict[str, Tensor] | None:
        """Tensors that stand in the files behind `prefix` and are no part of the model; None where one is not there.

        CheckpointError where one has another shape.
        """
        names = {f"{prefix}{name}": name for name in shapes}
        if any(name not in self._files.entries for name in names):
            return None
        for name, own in names.items():
            self._files.check_tensor(name, shapes[own], torch.float32)
        return {names[name]: tensor for name, tensor in self._files.weights(names, dtype)}


def save(
    model: Transformer, folder: Path, *, dtype: torch.dtype | None = None, max_shard_bytes: int = 5_000_000_000
) -> None:
    """Writes config.json and the weights. No file is replaced before all are on the disk, and none is ever half there.

    Not one step: cut short just while files change places, new weights can stand beside the old config.json. `load`
    refuses shards of two saves; whoever must never lose a model saves into a new folder, as the trainer does.

    dtype: the precision on disk; None keeps the model's. `torch.float8_e4m3fn` writes the layers' matrices in fp8 with
    128 x 128 block scales, as DeepSeek does, and the rest in bf16. Layers that are quantised stay as they are.
    max_shard_bytes: above it the weights are split over several files (a single tensor is never split).
    """
    state = model.state_dict()
    kind = dtype or model.head_weight.dtype
    write(model, lambda name: state[name].cpu(), folder, dtype=kind, max_shard_bytes=max_shard_bytes)


def write(
    model: Transformer,
    read: Callable[[str], Tensor],
    folder: Path,
    *,
    dtype: torch.dtype,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """`save` for numbers that come one tensor at a time: a shard of them is held at once.

    model: names and shapes, `blank` will do. read: a tensor by its name; each is asked for once.
    """
    if dtype not in tensorfile.DTYPES.values():
        raise CheckpointError(
            f"Weights cannot be saved as {dtype}; choose float32, bfloat16, float16 or float8_e4m3fn."
        )
    if dtype == fp8.FP8 and quantized.is_quantised(model):
        raise CheckpointError("A model of int8 or int4 layers cannot be saved as fp8; choose bfloat16 for the rest.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    matrices = _fp8_names(model) if dtype == fp8.FP8 else frozenset()
    shards = _plan_shards(model.state_dict(), dtype, matrices, max_shard_bytes)
    names = [SINGLE] if len(shards) == 1 else _shard_names(len(shards))
    identity = uuid.uuid4().hex
    weight_map: dict[str, str] = {}
    total = 0
    for file_name, shard in zip(names, shards, strict=True):
        tensors = dict(_stored(read, shard, dtype, matrices))
        tensorfile.write(_temporary(folder, file_name), tensors, {"format": "pt", SAVE_ID: identity})
        weight_map |= dict.fromkeys(tensors, file_name)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    texts = {"config.json": _config_json(model, dtype)}
    if len(shards) > 1:
        metadata = {"total_size": total, SAVE_ID: identity}
        texts[INDEX] = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    for file_name, data in texts.items():
        _write_text(_temporary(folder, file_name), json.dumps(data, indent=2) + "\n")
    _publish(folder, [*names, *texts])


@dataclass(frozen=True)
class _Files:
    """A folder whose headers have been read and checked: which tensor is where, and what the configuration says."""

    folder: Path
    config: ModelConfig
    block: tuple[int, int]
    schemes: frozenset[Scheme]
    entries: Mapping[str, Entry]
    homes: Mapping[str, Path]

    @classmethod
    def open(cls, folder: Path) -> _Files:
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is not a folder; give one with config.json and model.safetensors.")
        data = tensorfile.read_json(folder / "config.json")
        homes: dict[str, Path] = {}
        entries: dict[str, Entry] = {}
        identities = set()
        for path, listed in _weight_files(folder).items():
            found, metadata = tensorfile.read_header(path)
            identities.add(metadata.get(SAVE_ID))
            absent = [name for name in listed or () if name not in found]
            if absent:
                raise CheckpointError(f"{path} lacks {_some(absent)}, which {INDEX} promises; fetch the model again.")
            for name in found if listed is None else listed:
                entries[name], homes[name] = found[name], path
        if len(identities) > 1:
            raise CheckpointError(f"The shards in {folder} come from different saves; save or fetch the model again.")
        return cls(folder, ModelConfig.from_hf(data), *_quantisation(data), entries, homes)

    def quantised(self, model: Transformer) -> dict[str, Scheme]:
        """The layers of the model that are stored as int8 or int4; CheckpointError where config.json says otherwise."""
        if not self.schemes:
            return {}
        linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        found = quantized.layers_of(self.entries, lambda name: self.entries[name].shape)
        layers = {name: scheme for name, scheme in found.items() if name in linear}
        for name, scheme in layers.items():
            if scheme not in self.schemes:
                raise CheckpointError(
                    f"{self.homes[f'{name}.weight_scale']}: {name} is stored as {scheme}, and config.json speaks of "
                    f"{', '.join(sorted(map(str, self.schemes)))}; they do not belong together."
                )
        return layers

    def is_skipped(self, name: str) -> bool:
        """Multi-token-prediction layers follow the last layer; old checkpoints hold tables that are computed now."""
        if name.endswith("rotary_emb.inv_freq"):
            return True
        layer = re.match(r"model\.layers\.(\d{1,6})\.", name)
        first = self.config.num_hidden_layers
        return layer is not None and first <= int(layer[1]) < first + self.config.num_nextn_predict_layers

    def is_scale(self, name: str) -> bool:
        weight = self.entries.get(name.removesuffix(SCALE))
        return name.endswith(SCALE) and weight is not None and weight.dtype == "F8_E4M3"

    def check_count(self) -> None:
        """Refuses a configuration far larger than its files, before anything of its size is built."""
        config = self.config
        routed = 3 * config.n_routed_experts * max(config.num_hidden_layers - config.first_k_dense_replace, 0)
        least = 8 * config.num_hidden_layers + routed
        if least > 2 * len(self.entries):
            raise CheckpointError(
                f"{self.folder}: config.json describes at least {least} tensors, the files hold {len(self.entries)}; "
                "config.json and the weights do not belong together, or a file is incomplete."
            )

    def check(self, expected: Mapping[str, Tensor]) -> None:
        """Holds the files against the model; CheckpointError says what differs and what to do.

        expected: by name, tensors that say with their shape and, where they are whole numbers, their dtype.
        """
        tied_head = self.config.tie_word_embeddings and "lm_head.weight" in self.entries
        skipped = [name for name in self.entries if self.is_skipped(name)]
        if skipped:
            log.info("%s: %d tensors are not part of the model and stay unread: %s", self.folder, len(skipped), skipped)
        known = {*expected, *skipped, *(["lm_head.weight"] if tied_head else [])}
        missing = [name for name in expected if name not in self.entries]
        unexpected = [name for name in self.entries if name not in known and not self.is_scale(name)]
        if missing or unexpected:
            parts = [f"missing: {_some(missing)}"] * bool(missing) + [f"unexpected: {_some(unexpected)}"] * bool(
                unexpected
            )
            hint = "config.json and the weights do not belong together, or a file is incomplete; fetch both again."
            if missing == ["lm_head.weight"] and not unexpected:
                hint = "if the model ties its embeddings, set tie_word_embeddings to true in config.json."
            raise CheckpointError(f"{self.folder} does not hold its model ({'; '.join(parts)}): {hint}")
        for name, tensor in expected.items():
            self.check_tensor(name, tuple(tensor.shape), tensor.dtype)
            if name.endswith(".weight_shape"):
                self._check_shape(name, expected)
        if tied_head:
            self._check_tied_head()

    def _check_shape(self, name: str, expected: Mapping[str, Tensor]) -> None:
        """The shape that stands beside packed codes says again what config.json and the codes' own shape say."""
        rows, words = expected[name.replace(".weight_shape", ".weight_packed")].shape
        wanted = [rows, words * quantized.CODES_A_WORD]
        if self._read(name).tolist() != wanted:
            raise CheckpointError(f"{self.homes[name]}: {name} is not {wanted}; fetch the model again.")

    def check_tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """CheckpointError where a tensor has another shape, or numbers that cannot be read as `dtype`."""
        entry = self.entries[name]
        if entry.shape != shape:
            raise CheckpointError(
                f"{self.homes[name]}: {name} has shape {list(entry.shape)}, config.json asks for {list(shape)}; "
                "config.json and the weights do not belong together."
            )
        if dtype in tensorfile.INTEGERS.values():
            if tensorfile.INTEGERS.get(entry.dtype) != dtype:
                raise CheckpointError(
                    f"{self.homes[name]}: {name} is stored as {entry.dtype}; of a quantised layer it must be {dtype}. "
                    "Fetch the model again."
                )
            return
        if entry.dtype not in tensorfile.DTYPES:
            raise CheckpointError(
                f"{self.homes[name]}: {name} is stored as {entry.dtype}; denken reads {', '.join(tensorfile.DTYPES)}. "
                "Use the model's unquantised release."
            )
        if entry.dtype != "F8_E4M3":
            return
        scale = self.entries.get(name + SCALE)
        if len(shape) != 2 or scale is None or scale.shape != fp8.scale_shape(shape, self.block):
            wanted = list(fp8.scale_shape(shape, self.block)) if len(shape) == 2 else "none, as it is no matrix"
            raise CheckpointError(
                f"{self.homes[name]}: {name} is fp8 and needs {name + SCALE} of shape {wanted}, "
                f"found {'none' if scale is None else list(scale.shape)}; fetch the model again."
            )
        if scale.dtype not in ("F32", "BF16", "F16"):
            raise CheckpointError(f"{self.homes[name]}: {name + SCALE} is stored as {scale.dtype}; expected F32.")

    def _check_tied_head(self) -> None:
        """A head that is stored although tied must be the embedding; otherwise config.json is wrong."""
        head, embedding = (self._read(name) for name in ("lm_head.weight", "model.embed_tokens.weight"))
        if not torch.equal(head, embedding):
            raise CheckpointError(
                f"{self.folder}: config.json ties the embeddings, but lm_head.weight is not model.embed_tokens.weight; "
                "set tie_word_embeddings to false in config.json."
            )

    def _read(self, name: str) -> Tensor:
        return next(tensorfile.read_tensors(self.homes[name], [name]))[1]

    def common_dtype(self, expected: Iterable[str]) -> torch.dtype:
        numbers: Counter[torch.dtype] = Counter()
        for name in expected:
            entry = self.entries[name]
            if entry.dtype not in tensorfile.INTEGERS:
                numbers[tensorfile.DTYPES[entry.dtype]] += entry.end - entry.begin
        dtype = numbers.most_common(1)[0][0]
        return torch.bfloat16 if dtype == fp8.FP8 else dtype

    def weights(self, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """The tensors of these names in `dtype`, in memory of their own, file by file; codes stay whole numbers."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.homes[name], []).append(name)
        for path, inside in by_file.items():
            for name, tensor in tensorfile.read_tensors(path, inside):
                if tensor.dtype == fp8.FP8:
                    tensor = fp8.dequantise(tensor, self._read(name + SCALE), self.block)
                wanted = torch.float32 if name.endswith((ROUTER_BIAS, ".weight_scale")) else dtype
                yield name, tensor.to(wanted if tensor.is_floating_point() else tensor.dtype)

    def dequantised(self, layer: str, scheme: Scheme) -> Tensor:
        """The weight of a quantised layer, fp32."""
        tensors = {name: self._read(f"{layer}.{name}") for name in scheme.shapes(1, 1)}
        codes_OI = tensors["weight"] if scheme.bits == 8 else quantized.unpack(tensors["weight_packed"])
        return quantized.dequantise(codes_OI, tensors["weight_scale"])


def _weight_files(folder: Path) -> dict[Path, list[str] | None]:
    """The files of weights, with the names that the index gives each (None: all that it holds)."""
    if (folder / SINGLE).exists():
        return {folder / SINGLE: None}
    if not (folder / INDEX).exists():
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        hint = f" {pickled[0]} is a pickle, which can run code and is never opened here." if pickled else ""
        raise CheckpointError(
            f"{folder} has neither {SINGLE} nor {INDEX}.{hint} Fetch the model's safetensors files into it."
        )
    weight_map = tensorfile.read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX} has no weight_map from tensor names to files; fetch it again.")
    files: dict[Path, list[str] | None] = {}
    for name, file_name in weight_map.items():
        if not isinstance(file_name, str) or not re.fullmatch(r"[\w\-.]{1,200}\.safetensors", file_name):
            raise CheckpointError(
                f"{folder / INDEX} places {quoted(name)} in {quoted(file_name)}; "
                "a shard must be a .safetensors file in the folder."
            )
        names = files.setdefault(folder / file_name, [])
        assert names is not None
        names.append(name)
    return files


def _quantisation(data: Mapping[str, Any]) -> tuple[tuple[int, int], frozenset[Scheme]]:
    """The edges of fp8 blocks, and the schemes of whole numbers; other quantisations are refused before their tensors
    are looked at."""
    found = data.get("quantization_config")
    if found is None:
        return fp8.BLOCK, frozenset()
    method = found.get("quant_method") if isinstance(found, dict) else found
    if method == quantized.METHOD:
        return fp8.BLOCK, quantized.read_schemes(found)
    if method != "fp8":
        raise CheckpointError(
            f"The weights are quantised with {quoted(method)}; denken reads 'fp8' and {quantized.METHOD!r}. "
            "Use the unquantised release."
        )
    block = found.get("weight_block_size", list(fp8.BLOCK))
    if not isinstance(block, list) or len(block) != 2 or any(type(b) is not int or b < 1 for b in block):
        raise CheckpointError(f"config.json: weight_block_size is {quoted(block)}; expected two whole numbers.")
    return (block[0], block[1]), frozenset()


def _fp8_names(model: Transformer) -> frozenset[str]:
    """The matrices that DeepSeek stores in fp8: every linear layer's but the head's (routers are no linear layers)."""
    return frozenset(
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    )


def _stored_dtype(name: str, tensor: Tensor, dtype: torch.dtype, matrices: frozenset[str]) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    if name.endswith(ROUTER_BIAS):
        return torch.float32
    if dtype == fp8.FP8:
        return fp8.FP8 if name in matrices else torch.bfloat16
    return dtype


def _plan_shards(
    state: Mapping[str, Tensor], dtype: torch.dtype, matrices: frozenset[str], limit: int
) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    used = 0
    for name, tensor in state.items():
        size = tensor.numel() * _stored_dtype(name, tensor, dtype, matrices).itemsize
        if shards[-1] and used + size > limit:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def _shard_names(count: int) -> list[str]:
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _stored(
    read: Callable[[str], Tensor], names: list[str], dtype: torch.dtype, matrices: frozenset[str]
) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        tensor = read(name).detach().cpu()
        stored = _stored_dtype(name, tensor, dtype, matrices)
        if stored == fp8.FP8:
            tensor, scale = fp8.quantise(tensor)
            yield name + SCALE, scale
        yield name, tensor.to(stored)


def _config_json(model: Transformer, dtype: torch.dtype) -> dict[str, Any]:
    data = model.config.to_hf()
    kind = torch.bfloat16 if dtype == fp8.FP8 else dtype
    # transformers 5 reads "dtype", 4 "torch_dtype".
    data["dtype"] = data["torch_dtype"] = str(kind).removeprefix("torch.")
    if dtype == fp8.FP8:
        data["quantization_config"] = {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": list(fp8.BLOCK),
        }
    if quantized.is_quantised(model):
        data["quantization_config"] = quantized.to_hf(model)
    return data


def _temporary(folder: Path, name: str) -> Path:
    return folder / f".{name}.tmp"


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _publish(folder: Path, names: list[str]) -> None:
    """Puts finished files in their places, then removes what an earlier save with other shards left."""
    for name in names:
        os.replace(_temporary(folder, name), folder / name)
    for path in folder.iterdir():
        ours = path.name == INDEX or re.fullmatch(r"model(-\d{5}-of-\d{5})?\.safetensors", path.name)
        if ours and path.name not in names:
            path.unlink()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _some(names: list[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(quoted(name) for name in names[:4]) + more
