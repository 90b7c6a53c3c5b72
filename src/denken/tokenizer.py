"""Text to ids and back, for the byte-level vocabularies of the R1 family.

Two doors that never meet: `encode` takes *content* and yields plain-text ids only, whatever is typed;
`control` takes a name and yields the id that a template needs. The order of control tokens in a
conversation is `chat/template.py`'s business, their meaning in a model's output `chat/parser.py`'s.

How content is kept apart: the encoder is built from tokenizer.json *without its added tokens* (special or
not) and without its post-processor, so no string is matched to a control token before it is split. Should
the vocabulary itself hold such a string as an ordinary entry, its id is spelt out byte by byte.

Not covered: vocabularies that are not byte-level BPE (SentencePiece, WordPiece). Added tokens that are
ordinary text (runs of spaces in a few families) count as control tokens here, so their text is encoded
by the base vocabulary.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer as BytePairEncoder

from denken.errors import CheckpointError, ConfigError, quoted

_SURROGATE = re.compile("[\ud800-\udfff]")
# Far above every published vocabulary; a file beyond it is damaged or hostile, and loops over its ids would not end.
_MOST_IDS = 1 << 24


class Tokenizer:
    """One vocabulary: content to ids, control names to ids, ids to text.

    vocab_size: the highest id plus one (a model's embedding may have more rows).
    control_ids: every control token's name and id. folder: where it was loaded from.
    """

    def __init__(
        self, encoder: BytePairEncoder, base_bytes: Mapping[int, bytes], control_ids: Mapping[str, int], folder: Path
    ) -> None:
        self._encoder = encoder
        self._bytes = {**base_bytes, **{id_: name.encode() for name, id_ in control_ids.items()}}
        self._control = frozenset(control_ids.values())
        byte_ids = {spelt[0]: id_ for id_, spelt in base_bytes.items() if len(spelt) == 1 and id_ not in self._control}
        if len(byte_ids) < 256:
            raise CheckpointError(
                f"The vocabulary in {folder} has plain ids for {len(byte_ids)} of the 256 bytes, so some text could "
                "not be written with it. Use a byte-level vocabulary whose control tokens are not single bytes."
            )
        # A base entry that is also a control token is replaced by the ids of its bytes: always plain, never lossy.
        self._spelt_out = {
            id_: [byte_ids[byte] for byte in base_bytes[id_]] for id_ in self._control if id_ in base_bytes
        }
        self.control_ids: Mapping[str, int] = MappingProxyType(dict(control_ids))
        self.vocab_size = max(self._bytes) + 1
        if min(self._bytes) < 0 or self.vocab_size > _MOST_IDS:
            raise CheckpointError(
                f"The ids of the vocabulary in {folder} run from {min(self._bytes)} to {self.vocab_size - 1}; they "
                f"must lie from 0 to {_MOST_IDS - 1}. Copy its files again from where the model was published."
            )
        self.folder = folder

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read `tokenizer.json`, and `tokenizer_config.json` where there is one, from a model's folder.

        Raises CheckpointError when a file is missing, damaged or of another kind of vocabulary.
        """
        folder = Path(folder)
        spec = _read_json(folder / "tokenizer.json", required=True)
        settings = _read_json(folder / "tokenizer_config.json", required=False)
        model = spec.get("model")
        vocab = model.get("vocab") if isinstance(model, dict) and "merges" in model else None
        if not isinstance(model, dict) or not isinstance(vocab, dict) or not vocab or not _is_byte_level(spec):
            raise CheckpointError(
                f"{folder / 'tokenizer.json'} is not a byte-level BPE vocabulary. denken reads those of the R1 family "
                "(Llama 3, Qwen 2 and 3, DeepSeek V3 and R1); use a model of that family."
            )
        try:
            control_ids = _control_ids(spec, settings, vocab)
            content_only = {**spec, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
            content_only["model"] = {**model, "dropout": None}
            encoder = BytePairEncoder.from_str(json.dumps(content_only))
            base_bytes = {int(id_): _entry_bytes(entry) for entry, id_ in vocab.items()}
        except CheckpointError:
            raise
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise CheckpointError(
                f"{folder / 'tokenizer.json'} cannot be used ({error}). Copy the file again from where the model "
                "was published."
            ) from error
        return cls(encoder, base_bytes, control_ids, folder)

    def encode(self, text: str) -> list[int]:
        """The ids of content. None of them is ever a control id.

        `decode` gives the text back exactly, with two exceptions: a lone surrogate, which is no character,
        is encoded as U+FFFD (a surrogate pair as the character it means); and a vocabulary with a normaliser
        of its own (Qwen's: NFC) gives the normalised text back.
        """
        if _SURROGATE.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        if self._spelt_out and not self._spelt_out.keys().isdisjoint(ids):
            return [plain for id_ in ids for plain in self._spelt_out.get(id_, (id_,))]
        return ids

    def control(self, name: str) -> int:
        """The id of a control token such as `<think>`; ConfigError where the vocabulary has none of that name."""
        try:
            return self.control_ids[name]
        except KeyError:
            raise ConfigError(
                f"The vocabulary in {self.folder} has no control token {name}. Use a model with DeepSeek-R1's "
                f"control tokens, or add {name} to the added_tokens of its tokenizer.json."
            ) from None

    def has_control(self, name: str) -> bool:
        """Whether the vocabulary has a control token of that name."""
        return name in self.control_ids

    def is_control(self, id_: int) -> bool:
        """Whether an id is a control token's."""
        return id_ in self._control

    def decode(self, ids: Iterable[int], *, skip_control: bool = True) -> str:
        """The text of ids; control tokens are left out or spelt by name. Bytes that are no UTF-8 become U+FFFD."""
        decoder = self.decoder(skip_control=skip_control)
        return "".join([decoder.push(id_) for id_ in ids]) + decoder.finish()

    def decoder(self, *, skip_control: bool = True) -> IncrementalDecoder:
        """A decoder for ids that arrive one by one; its pieces joined are what `decode` gives for all of them."""
        return IncrementalDecoder(self, skip_control)

    def token_bytes(self, id_: int) -> bytes:
        """The bytes that an id stands for (a control token's: its name).

        Empty for an id without an entry: embeddings are padded to round sizes, and a model may sample such a row.
        """
        return self._bytes.get(id_, b"")


class IncrementalDecoder:
    """Ids in, whole code points out: bytes of an unfinished character wait for the ids that complete it."""

    def __init__(self, tokenizer: Tokenizer, skip_control: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_control = skip_control
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id_: int) -> str:
        """The text that became certain with this id. A control id ends the character before it."""
        spelt = self._tokenizer.token_bytes(id_)
        if not self._tokenizer.is_control(id_):
            return self._utf8.decode(spelt)
        return self.finish() + ("" if self._skip_control else spelt.decode())

    def finish(self) -> str:
        """The rest: U+FFFD where a character was left unfinished. The decoder is as new afterwards."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def _read_json(path: Path, *, required: bool) -> dict[str, Any]:
    """A file's JSON object; {} for an absent file that is not required."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        raise CheckpointError(
            f"There is no {path.name} in {path.parent}. Give the folder of a model in Hugging Face's format, with "
            "config.json, model.safetensors and tokenizer.json in it."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}). Copy the file again from where the model was published."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object. Copy the file again from where the model was published.")
    return value


def _is_byte_level(spec: Mapping[str, Any]) -> bool:
    """Whether ByteLevel stands in the chain of pre-tokenizers, which maps all text to 256 byte characters."""
    waiting: list[Any] = [spec.get("pre_tokenizer")]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            if step.get("type") == "ByteLevel":
                return True
            inner = step.get("pretokenizers")
            waiting.extend(inner if isinstance(inner, list) else [])
    return False


def _control_ids(spec: Mapping[str, Any], settings: Mapping[str, Any], vocab: Mapping[str, int]) -> dict[str, int]:
    """Names and ids of control tokens: added tokens of both files, and the tokens named `bos_token` and the like."""
    listed = [(token["content"], token["id"]) for token in spec.get("added_tokens") or []]
    listed += [(token["content"], id_) for id_, token in (settings.get("added_tokens_decoder") or {}).items()]
    control_ids: dict[str, int] = {}
    for name, id_ in listed:
        if not isinstance(name, str) or not name or _SURROGATE.search(name):
            raise CheckpointError(f"{quoted(name)}, an added token of the tokenizer, is no text. Copy its files again.")
        if control_ids.setdefault(name, int(id_)) != int(id_):
            raise CheckpointError(
                f"tokenizer.json and tokenizer_config.json give {name} different ids ({control_ids[name]} and {id_}). "
                "Take both files from the same model."
            )
    for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = settings.get(role)
        name = token.get("content") if isinstance(token, dict) else token
        if isinstance(name, str) and name in vocab:
            control_ids.setdefault(name, vocab[name])
    return control_ids


def byte_characters() -> dict[str, int]:
    """The 256 characters by which byte-level vocabularies write bytes (GPT-2's table).

    Printable Latin-1 characters stand for themselves, every other byte for the next free one from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(rest)}


_BYTE_OF = byte_characters()


def _entry_bytes(entry: str) -> bytes:
    """The bytes of a vocabulary entry; one outside the byte characters (a control token's name) is UTF-8."""
    try:
        return bytes([_BYTE_OF[character] for character in entry])
    except KeyError:
        return entry.encode()
