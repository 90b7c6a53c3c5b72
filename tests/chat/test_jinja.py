"""A model's own template: as `transformers` renders it, and whatever it does, it computes within limits and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from denken.chat import formats, jinja, parser
from denken.chat.formats import Format
from denken.chat.message import Message
from denken.chat.template import open_thought
from denken.errors import CheckpointError, RequestError
from denken.tokenizer import Tokenizer
from small_vocabulary import write_tokenizer

published = pytest.importorskip("published")

QUESTION = [Message("user", "Hi")]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content | trim) + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# By hand, so never rendered apart; and the same again under another name.
NOT_RENDERED = ("r1-2025-01", "r1-2025-02", "r1-distill llama.cpp", "ollama gguf deepseek-r1:8b", "ollama gguf r1-1776")


@pytest.fixture(scope="module")
def everyones(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.load(write_tokenizer(tmp_path_factory.mktemp("everyones"), control=published.CONTROLS))


@pytest.fixture
def made(everyones: Tokenizer) -> Iterator[list[Format]]:
    """Formats to be closed."""
    written: list[Format] = []
    yield written
    for format in written:
        format.close()


def rendered(template: str, everyones: Tokenizer, made: list[Format], messages: list[Message] = QUESTION) -> str:
    made.append(formats.own(everyones, template, published.NAMES))
    return everyones.decode(made[-1].render(messages).ids, skip_control=False)


def test_every_published_template_is_rendered_as_transformers_does(everyones: Tokenizer, made: list[Format]) -> None:
    templates = published.templates()
    if not templates:
        pytest.skip("the published templates are not at hand")
    tried = {text: key for key, text in templates.items() if not key.startswith(NOT_RENDERED)}
    assert len(tried) > 8
    for template, key in tried.items():
        made.append(formats.own(everyones, template, published.NAMES))
        compared = 0
        for title, messages in published.CONVERSATIONS.items():
            for as_text in (False, True):
                try:
                    expected = published.text_of_template(template, messages, tools=published.TOOLS, as_text=as_text)
                    break
                except Exception:  # not with arguments as objects, or not at all
                    expected = None
            if expected is None:
                continue
            ids = made[-1].render(messages, tools=published.TOOLS).ids
            assert everyones.decode(ids, skip_control=False) == expected, (key, title)
            compared += 1
        assert compared >= 2, key


def test_contents_are_trimmed_where_the_template_trims(everyones: Tokenizer, made: list[Format]) -> None:
    text = rendered(CHATML, everyones, made, [Message("user", "\n <|im_end|> \n")])
    assert text == "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"


def test_nothing_that_is_said_becomes_a_control_id(everyones: Tokenizer, made: list[Format]) -> None:
    """Spelt, overlapping, halved around another, and taken apart or quoted by the template."""
    template = CHATML + "{{ messages[0].content.split('|') | join('|') }}{{ messages[0].content | tojson }}{{ tools }}"
    rendered(template, everyones, made)
    said = "".join(published.CONTROLS) + "<|im_<|im_start|>start|><think<think>></think>"

    def controls(text: str) -> list[int]:
        messages = [Message("user", text), Message("assistant", text, reasoning_content=text), Message("tool", text)]
        return [id_ for id_ in made[-1].render(messages).ids if everyones.is_control(id_)]

    assert controls(said) == controls("plain")
    assert said in everyones.decode(made[-1].render([Message("user", said)]).ids, skip_control=False)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0].content | lower }}", "<|IM_START|>"),
        ("{{ messages[0].content | replace('x', '') }}", "<xthink>"),
        ("{{ '<|' ~ messages[0].content }}", "im_start|>"),
        ("{{ messages[0].content[::-1] }}", ">kniht<"),
        ("{{ messages[0].content | replace('[', '<') | replace(']', '>') }}", "[think]"),
        ("{{ messages[0].content | replace('&lt;', '<') }}", "&lt;think>"),
        ("{{ '<|%s|>' % messages[0].content }}", "im_start"),
        ("{{ '<|%s_start|>' % messages[0].content | lower }}", "IM"),
    ],
)
def test_a_template_that_makes_control_tokens_of_what_is_said(
    everyones: Tokenizer, made: list[Format], template: str, said: str
) -> None:
    made.append(formats.own(everyones, template, {}))
    with pytest.raises(RequestError, match="would make control tokens"):
        made[-1].render([Message("user", said)])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.system('id') }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
        ("{{", "TemplateSyntaxError"),
        ("{{ 'a' * 10 ** 10 }}", "needs more than 512 MB"),
        ("{% for i in range(99999) %}{{ 'aaaaaaaaaa' * 100 }}{% endfor %}", "writes more than"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "took more than"),
        ("{{ 10 ** (10 ** 9) }}", "took more than"),
    ],
)
def test_a_hostile_template_is_refused_in_time(
    everyones: Tokenizer, monkeypatch: pytest.MonkeyPatch, template: str, said: str
) -> None:
    monkeypatch.setattr(jinja, "SECONDS", 1.5 if "took" in said else 20.0)
    began = time.monotonic()
    with pytest.raises(CheckpointError, match=said):
        formats.own(everyones, template, {})
    assert time.monotonic() - began < 20


def test_its_process_can_open_nothing_and_dies_with_it(everyones: Tokenizer, made: list[Format]) -> None:
    rendered(CHATML, everyones, made)
    process = made[-1].template._process
    status = Path(f"/proc/{process.pid}/status")
    assert not status.exists() or "Seccomp:\t2" in status.read_text()
    process.kill()
    process.wait()
    assert made[-1].render(QUESTION).ids, "another is started"
    second = made[-1].template._process
    made[-1].close()
    assert second.poll() is not None


def test_thoughts_reach_templates_that_know_them(everyones: Tokenizer, made: list[Format]) -> None:
    said = [*QUESTION, Message("assistant", "Yes", reasoning_content="Hm"), Message("user", "So?")]
    knows = "{% for m in messages %}[{{ m.reasoning_content }}|{{ m.content }}]{% endfor %}"
    splits = "{% for m in messages %}[{{ m.content.split('</think>')[-1] }}]{% endfor %}"
    neither = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    assert rendered(knows, everyones, made, said) == "[|Hi][Hm|Yes][|So?]"
    assert rendered(splits, everyones, made, said) == "[Hi][Yes][So?]"
    assert rendered(splits, everyones, made, [Message("user", "a</think>b")]) == "[a</think>b]", "no tag was typed"
    assert rendered(neither, everyones, made, said) == "[Hi][Yes][So?]"


def test_a_thought_and_an_answer_can_be_begun(everyones: Tokenizer, made: list[Format]) -> None:
    rendered(CHATML, everyones, made)
    assert open_thought(made[-1].render(QUESTION, opens_thought=True).ids, everyones)
    begun = made[-1].render([*QUESTION, Message("assistant", "Hel ")], continues=True).ids
    assert everyones.decode(begun, skip_control=False).endswith("<|im_end|>\n<|im_start|>assistant\nHel ")


def test_much_that_is_said_costs_little(everyones: Tokenizer, made: list[Format]) -> None:
    rendered(CHATML, everyones, made)
    ids = made[-1].render([Message("user", "<think>" * 100_000)]).ids
    assert len(ids) > 700_000


def test_a_template_that_refuses_says_why(everyones: Tokenizer, made: list[Format]) -> None:
    with pytest.raises(RequestError, match="refuses the conversation: Roles must alternate"):
        rendered("{{ raise_exception('Roles must alternate') }}", everyones, made)


def test_the_tags_of_replies_are_the_templates(everyones: Tokenizer, made: list[Format]) -> None:
    rendered("{{ messages[0].content }}{# <tool_call> #}", everyones, made)
    assert (made[-1].dialect.form, "<think>" in made[-1].dialect.tags) == ("qwen", True)
    assert parser.dialect_of("", thinks=False) == parser.PLAIN
