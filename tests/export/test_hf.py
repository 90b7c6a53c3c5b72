"""What leaves as a Hugging Face folder gives `transformers` the same logits, ids and conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_folders import write_model

from denken.assistant import BUNDLED
from denken.chat.message import Message
from denken.chat.template import render
from denken.errors import CheckpointError, ConfigError
from denken.export import hf
from denken.export.source import Source, licence
from denken.model import checkpoint
from denken.tokenizer import Tokenizer
from small_configs import SMALL_LATENT

IDS = torch.tensor([[5, 9, 2, 44, 17, 5]])


def their_logits(folder: Path) -> torch.Tensor:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_transformers_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", family, dtype=torch.bfloat16, tie_word_embeddings=family == "llama")
    out = hf.export(folder, tmp_path / "out", max_shard_bytes=60_000)
    assert len(list(out.glob("*.safetensors"))) > 1
    with torch.no_grad():
        ours = checkpoint.load(folder, dtype=torch.float32)(IDS)
    assert (their_logits(out) - ours).abs().max() < 1e-4
    assert checkpoint.load(out).head_weight.dtype == torch.bfloat16


def test_fp8_and_layers_that_are_never_used_are_left_behind(tmp_path: Path) -> None:
    shape = SMALL_LATENT | {"num_nextn_predict_layers": 1}
    folder = write_model(tmp_path / "model", "deepseek_v3", **{k: v for k, v in shape.items() if k != "vocab_size"})
    checkpoint.save(checkpoint.load(folder), folder, dtype=torch.float8_e4m3fn)
    out = hf.export(folder, tmp_path / "out")
    assert checkpoint.read_config(out).num_nextn_predict_layers == 0
    with torch.no_grad():
        ours = checkpoint.load(folder, dtype=torch.bfloat16).float()(IDS)
    assert (their_logits(out) - ours).abs().max() < 1e-4


def test_the_bundled_model_talks_through_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    out = hf.export(BUNDLED, tmp_path / "out")
    theirs, ours = transformers.AutoTokenizer.from_pretrained(out), Tokenizer.load(BUNDLED)
    question = "Was ist 17 mal 23?\nÄ\t漢 "
    asked = [{"role": "user", "content": question}]
    prompt = theirs.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert tuple(prompt) == render([Message("user", question)], ours).ids
    plain = {"role": "user", "content": "What is 17 times 23?"}
    prompt = theirs.apply_chat_template([plain], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    said = model.generate(**prompt, max_new_tokens=200)[0]
    assert theirs.decode(said).endswith("</think>\n\n391<｜end▁of▁sentence｜>")


def test_everything_that_belongs_to_a_model_comes_along(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "runs" / "mine" / "model")
    (folder / "about.json").write_text('{"thinks": "always"}', encoding="utf-8")
    (folder / "optimizer.pt").write_bytes(b"not the model's")
    out = hf.export(folder, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {
        "about.json",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    source, end = Source.open(out), Tokenizer.load(folder).control("<｜end▁of▁sentence｜>")
    assert (source.eos_ids, source.licence, source.name) == ((end,), "mit", "out")
    assert Source.open(folder).name == "mine"
    assert json.loads((out / "config.json").read_text("utf-8"))["eos_token_id"] == end


def test_a_template_of_the_models_own_is_kept(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ 'mine' }}"}]
    for given in ("{{ 'mine' }}", named):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": given}), encoding="utf-8")
        assert Source.open(folder).template == "{{ 'mine' }}"
    (folder / "chat_template.jinja").write_text("{{ 'newer' }}", encoding="utf-8")
    assert Source.open(folder).template == "{{ 'newer' }}"


def test_what_is_there_is_not_overwritten_and_what_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "model")
    with pytest.raises(ConfigError, match="is there already"):
        hf.export(folder, folder)
    (tmp_path / "empty").mkdir()
    assert (hf.export(folder, tmp_path / "empty") / "config.json").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        hf.export(folder, tmp_path / "file" / "out")
    before = sorted(tmp_path.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(ConfigError, match="No space left"):
        hf.export(folder, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_folders_that_are_no_whole_model_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", vocab_size=200)
    with pytest.raises(CheckpointError, match="take both from the same place"):
        Source.open(folder)
    folder = write_model(tmp_path / "model")
    for wrong, words in (('{"eos_token_id": "x"}', "give an id"), ('{"eos_token_id": 9999}', "names the token 9999")):
        (folder / "generation_config.json").write_text(wrong, encoding="utf-8")
        with pytest.raises(CheckpointError, match=words):
            Source.open(folder)
    (folder / "generation_config.json").unlink()
    (folder / "README.md").write_bytes(b"\xff" * ((1 << 20) + 1))
    with pytest.raises(CheckpointError, match="longer than"):
        licence(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        Source.open(folder)
