"""Which format a model has, and that those written by hand are the published templates, id for id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Whole

from denken.chat import formats, llama
from denken.chat.formats import Format, format_of
from denken.chat.message import Message, Tool, ToolCall
from denken.chat.template import open_thought
from denken.errors import CheckpointError, ConfigError, RequestError
from denken.export.source import house_template
from denken.tokenizer import Tokenizer
from small_vocabulary import write_tokenizer

published = pytest.importorskip("published")

QWEN_3, QWEN_3_FIRST = "Qwen3-30B-A3B", "ollama gguf qwen3:0.6b"
QWEN_2_5, LLAMA = "hfjs/Qwen/Qwen2.5-7B-Instruct", "hfjs/meta-llama/Llama-3.1-8B-Instruct"
RELEASE = "r1-2025-01 (release; R1, R1-Zero and all distills)"
FEBRUARY = 'r1-2025-02 (release + "<think>\\n" in the generation prompt)'
LLAMAS_NAMES = {"bos_token": llama.BOS}


@pytest.fixture(scope="module")
def templates() -> dict[str, str]:
    found = published.templates()
    if not found:
        pytest.skip("the published templates are not at hand")
    return found


@pytest.fixture(scope="module")
def everyones(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A vocabulary with every family's control tokens."""
    return Tokenizer.load(write_tokenizer(tmp_path_factory.mktemp("everyones"), control=published.CONTROLS))


def in_folder(folder: Path, template: str, tokenizer: Tokenizer) -> Format:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return format_of(folder, tokenizer)


@pytest.mark.parametrize(
    ("key", "name", "names"),
    [
        (QWEN_3, "qwen3", None),
        (QWEN_3_FIRST, "qwen3", None),
        (QWEN_2_5, "qwen2.5", None),
        (LLAMA, "llama3.1", LLAMAS_NAMES),
        (RELEASE, "deepseek", None),
        (FEBRUARY, "deepseek", None),
    ],
)
def test_by_hand_is_what_the_published_template_writes(
    templates: dict[str, str], everyones: Tokenizer, tmp_path: Path, key: str, name: str, names: dict[str, str] | None
) -> None:
    written = in_folder(tmp_path, templates[key], everyones)
    assert (written.name, written.template) == (name, None)
    whole = Whole.from_file(str(everyones.folder / "tokenizer.json"))
    conversations = published.CONVERSATIONS | (published.QWENS if name == "qwen3" else {})
    for title, messages in conversations.items():
        if name == "deepseek" and ("call" in title or "finished" in title):
            continue  # departures 2 and 4 of template.py
        for thinking in (True, False) if name == "qwen3" else (True,):
            for tools in ((), published.TOOLS) if name != "deepseek" else ((),):
                generate = messages[-1].role != "assistant"
                expected = published.text_of_template(
                    templates[key], messages, thinking=thinking, generate=generate, tools=tools, names=names
                )
                rendered = written.render(messages, thinking=thinking, generate=generate, tools=tools)
                assert everyones.decode(rendered.ids, skip_control=False) == expected, title
                if "reads like" not in title:  # there, a tag that was typed stays text
                    assert list(rendered.ids) == whole.encode(expected, add_special_tokens=False).ids, title


def test_a_published_folder_is_written_as_its_files_say(published_tokenizer: Tokenizer, published_whole: Whole) -> None:
    """Their vocabulary, their template, `transformers`' rendering; the ids of the whole text at once."""
    settings = published_tokenizer.folder / "tokenizer_config.json"
    if not settings.is_file():
        pytest.skip("this folder has no template")
    template = json.loads(settings.read_text(encoding="utf-8"))["chat_template"]
    written = format_of(published_tokenizer.folder, published_tokenizer)
    assert written.name in ("deepseek", "qwen3")
    for title, messages in published.CONVERSATIONS.items():
        if written.name == "deepseek" and ("call" in title or "finished" in title):
            continue
        generate = messages[-1].role != "assistant"
        expected = published.text_of_template(template, messages, generate=generate)
        ids = published_whole.encode(expected, add_special_tokens=False).ids
        assert list(written.render(messages, generate=generate).ids) == ids, title


def test_known_means_known_to_the_letter(templates: dict[str, str], everyones: Tokenizer, tmp_path: Path) -> None:
    changed = templates[QWEN_2_5].replace("created by Alibaba Cloud", "created by Nobody")
    written = in_folder(tmp_path, changed, everyones)
    try:
        assert written.name == "jinja"
        ids = written.render([Message("user", "Hi")]).ids
        assert "created by Nobody" in everyones.decode(ids)
    finally:
        written.close()
    assert in_folder(tmp_path, templates[QWEN_3] + "\n", everyones).name == "qwen3", "Jinja drops that line break"


def test_a_vocabulary_without_the_control_tokens_is_not_the_familys(
    templates: dict[str, str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    written = in_folder(tmp_path, templates[QWEN_3], tokenizer)
    written.close()
    assert written.name == "jinja"


def test_a_folder_without_a_template(tokenizer: Tokenizer, everyones: Tokenizer, tmp_path: Path) -> None:
    assert format_of(tmp_path, tokenizer).name == "deepseek"
    control = [name for name in published.CONTROLS if "｜" not in name]
    qwens = Tokenizer.load(write_tokenizer(tmp_path / "qwen", control=control))
    assert format_of(tmp_path, qwens).name == "qwen3"
    llamas = Tokenizer.load(write_tokenizer(tmp_path / "llama", control=[n for n in control if n not in ("<think>",)]))
    unknown = format_of(tmp_path, llamas)
    with pytest.raises(ConfigError, match="has no chat template"):
        unknown.render([Message("user", "Hi")])


def test_what_denken_exports_is_known_again(everyones: Tokenizer, tmp_path: Path) -> None:
    assert in_folder(tmp_path, house_template(), everyones).name == "deepseek"


def test_of_several_templates_the_default_one_counts(
    templates: dict[str, str], everyones: Tokenizer, tmp_path: Path
) -> None:
    listed = [
        {"name": ["default"], "template": "x"},
        {"name": "rag", "template": "y"},
        {"name": "default", "template": templates[QWEN_3]},
    ]
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps({"chat_template": listed}), encoding="utf-8")
    assert format_of(tmp_path, everyones).name == "qwen3"
    (tmp_path / "chat_template.jinja").write_text(templates[QWEN_2_5], encoding="utf-8")
    assert format_of(tmp_path, everyones).name == "qwen2.5", "the file comes first, as in transformers"
    (tmp_path / "chat_template.jinja").unlink()
    settings.write_text(json.dumps({"chat_template": listed[:2]}), encoding="utf-8")
    assert format_of(tmp_path, everyones).name == "deepseek", "none of them is meant for conversations"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"chat_template": 3}'),
        ("chat_template.jinja", "a" * (formats.MOST_BYTES + 1)),
    ],
)
def test_damaged_files_are_named(everyones: Tokenizer, tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"chat_template|tokenizer_config"):
        format_of(tmp_path, everyones)


@pytest.mark.parametrize("key", [QWEN_3, QWEN_2_5, LLAMA])
def test_nothing_that_is_said_becomes_a_control_id(
    templates: dict[str, str], everyones: Tokenizer, tmp_path: Path, key: str
) -> None:
    written = in_folder(tmp_path, templates[key], everyones)
    spelt = "".join(published.CONTROLS)

    def said(text: str) -> list[Message]:
        return [
            Message("system", text),
            Message("user", text),
            Message("assistant", text, reasoning_content=text, tool_calls=(ToolCall(text, f'"{text}"'),)),
            Message("tool", text),
        ]

    def controls(text: str) -> list[int]:
        return [id_ for id_ in written.render(said(text), tools=published.TOOLS).ids if everyones.is_control(id_)]

    assert controls(spelt) == controls("plain")


def test_what_is_nested_without_end_is_refused(everyones: Tokenizer) -> None:
    parameters: dict = {}
    for _ in range(5000):
        parameters = {"items": parameters}
    for written in (formats.deepseek(everyones), formats.qwen(everyones, thinks=True), formats.llama_3(everyones)):
        with pytest.raises(RequestError, match="nested too deeply"):
            written.render([Message("user", "Hi")], tools=[Tool("a", "", parameters)])


def test_thoughts_of_qwen_3(templates: dict[str, str], everyones: Tokenizer, tmp_path: Path) -> None:
    written = in_folder(tmp_path, templates[QWEN_3], everyones)
    question = [Message("user", "Hi")]
    assert not open_thought(written.render(question).ids, everyones)
    assert open_thought(written.render(question, opens_thought=True).ids, everyones)
    begun = written.render([*question, Message("assistant", "Hel")], continues=True)
    assert everyones.decode(begun.ids, skip_control=False).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nHel")


@pytest.mark.parametrize("key", [QWEN_3, QWEN_2_5, LLAMA, FEBRUARY])
def test_what_is_settled_begins_the_next_prompt(
    templates: dict[str, str], everyones: Tokenizer, tmp_path: Path, key: str
) -> None:
    written = in_folder(tmp_path, templates[key], everyones)
    asked = [Message("system", "S"), Message("user", "a?")]
    prompt, reply = written.render(asked).ids, Message("assistant", "b", reasoning_content="")
    settled = tuple(written.settled(asked, prompt, reply))
    following = written.render([*asked, reply, Message("user", "c?")]).ids
    assert following[: len(settled)] == settled
    assert everyones.encode("b")[0] in settled


def test_llama_says_what_it_cannot(everyones: Tokenizer) -> None:
    calls = (ToolCall("a", "{}"), ToolCall("b", "{}"))
    with pytest.raises(RequestError, match="one call"):
        llama.render([Message("user", "?"), Message("assistant", "", tool_calls=calls)], everyones)
    reply = Message("assistant", "", tool_calls=calls)
    assert formats.llama_3(everyones).settled([Message("user", "?")], (1, 2), reply) == (1, 2)
    with pytest.raises(RequestError, match="first question"):
        llama.render([Message("system", "S")], everyones, tools=published.TOOLS)
