"""What is around a conversation: the list of them, what can be done with one, and the pages beside it."""

from __future__ import annotations

import json
import re
import time

import pytest
from acting import Piece, answer, serving, think
from talking import Talk, Words

from denken.serve import keys


@pytest.fixture
def asked(talk, site):
    """A conversation with one answer, and its title: titles are made from answers."""

    def begin(subject: str) -> tuple[Talk, str]:
        one = talk()
        title = f"{subject} on a {one.device}"
        site.actor.plays(f"About {title}", think("Hm."), answer(f"{title}. It has 12 sails."))
        one.ask_and_wait(f"About {title}")
        one.page.wait_for_function("(title) => document.title.startsWith(title)", arg=title)
        return one, title

    return begin


def test_a_conversation_is_named_pinned_found_and_deleted_with_undo(asked):
    one, title = asked("Windmills")
    named = f"Old mills on a {one.device}"
    one.choose(title, "rename")
    field = one.page.get_by_role("textbox", name=one.words("around.name"))
    field.fill(named)
    field.press("Enter")
    listed = one.page.get_by_role("link", name=named, exact=True)
    listed.wait_for()
    if one.device == "phone":
        one.press("around.closeMenu")
    one.choose(named, "pin")
    one.page.get_by_role("heading", name=one.words("around.pinned")).wait_for()
    # Words of the question and of the answer are found, those of the thought are not.
    search = one.page.get_by_role("searchbox", name=one.words("around.search"))
    search.fill("sails")
    one.page.locator("mark", has_text="sails").first.wait_for()
    search.fill("Hmmm")
    one.page.get_by_text(re.compile("^0 ")).wait_for()
    search.fill("")
    listed.wait_for()
    if one.device == "phone":
        one.press("around.closeMenu")
    one.choose(named, "delete")
    listed.wait_for(state="detached")
    one.page.get_by_text(one.words("around.deleted", title=named)).wait_for()
    one.press("around.undo")
    one.page.get_by_text("It has 12 sails.").wait_for()
    one.page.wait_for_url("**/c/*")


def test_a_conversation_is_shared_by_a_link_exported_and_the_link_withdrawn(asked, visit, watched):
    watched.expected.append("404 (Not Found)")
    one, title = asked("Lighthouses")
    one.choose(title, "share")
    one.press("around.shareMake")
    link = one.page.get_by_role("textbox", name=one.words("around.shareAddress")).input_value()
    reader = visit(link, one.device, "en")
    reader.get_by_text("It has 12 sails.").wait_for()
    assert reader.get_by_role("textbox").count() == 0
    one.press("around.shareWithdraw")
    one.page.get_by_role("button", name=one.words("around.shareMake")).wait_for()
    reader.reload()
    reader.get_by_text(Words("en")("shared.gone")).wait_for()
    one.page.keyboard.press("Escape")
    for kind, end in (("exportMarkdown", ".md"), ("exportJson", ".json")):
        if one.device == "phone" and one.page.locator("dialog.drawer").count():
            one.press("around.closeMenu")
        with one.page.expect_download() as download:
            one.choose(title, kind)
        assert download.value.suggested_filename.endswith(end)
        text = download.value.path().read_text(encoding="utf-8")
        assert "It has 12 sails." in text
        assert end == ".md" or json.loads(text)


def test_conversations_of_others_are_imported(talk, tmp_path):
    """ChatGPT's export, as far as a small one goes."""
    node = {"id": "b", "parent": "a", "children": [], "message": {"author": {"role": "assistant"}, "id": "b"}}
    node["message"] |= {"content": {"content_type": "text", "parts": ["Because of Rayleigh."]}, "create_time": 2.0}
    first = {"id": "a", "parent": None, "children": ["b"], "message": {"author": {"role": "user"}, "id": "a"}}
    first["message"] |= {"content": {"content_type": "text", "parts": ["Why is the sky blue?"]}, "create_time": 1.0}
    one = talk()
    title = f"The sky, {one.device}"
    export = [
        {"id": title, "title": title, "create_time": 1.0, "mapping": {"a": first, "b": node}, "current_node": "b"}
    ]
    (tmp_path / "conversations.json").write_text(json.dumps(export), encoding="utf-8")
    one.sidebar()
    one.press("settings.title")
    with one.page.expect_file_chooser() as chooser:
        one.press("settings.importChoose")
    chooser.value.set_files(tmp_path / "conversations.json")
    one.page.get_by_text(one.words("settings.imported_one", count=1)).wait_for(timeout=30_000)
    one.page.keyboard.press("Escape")
    if one.device == "phone" and not one.page.locator("dialog.drawer").count():
        one.sidebar()
    one.page.get_by_role("link", name=title).click()
    one.page.get_by_text("Because of Rayleigh.").wait_for()


def test_language_and_scheme_are_chosen_and_kept(talk):
    one = talk(color_scheme="light")
    other = "de" if one.device == "desktop" else "en"
    one.sidebar()
    one.press("settings.title")
    one.page.get_by_role("radio", name=one.words("settings.dark")).check(force=True)
    one.page.get_by_role("radio", name={"de": "Deutsch", "en": "English"}[other]).check(force=True)
    words = Words(other)
    one.page.get_by_role("heading", name=words("settings.title")).wait_for()
    one.page.reload()
    one.page.get_by_text(words("thread.greeting")).wait_for()
    shown = one.page.evaluate("() => [document.documentElement.lang, getComputedStyle(document.body).colorScheme]")
    assert shown == [other, "dark"]


def test_the_keys_are_listed(talk):
    one = talk("/library")
    one.page.get_by_role("heading", name=one.words("library.title"), level=1).wait_for()
    one.page.keyboard.press("?")
    shown = one.page.get_by_role("dialog", name=one.words("shortcuts.title"))
    for name in ("search", "newChat", "send", "stop", "delete"):
        assert one.words(f"shortcuts.{name}") in shown.inner_text()
    one.page.keyboard.press("Escape")
    assert shown.count() == 0


def test_a_document_is_added_looked_up_cited_and_taken_away(talk, site, tmp_path):
    """From the library's page to an answer with its citation, with the search as it is."""
    one = talk("/library")
    name = f"{one.device}.md"
    (tmp_path / name).write_text(f"# The {one.device} bridge\n\nIt was built in 1732 by Ada Holm.", encoding="utf-8")
    one.page.locator(".add-files input[type=file]").set_input_files(tmp_path / name)
    tile = one.page.get_by_role("listitem").filter(has_text=name).filter(has=one.page.get_by_role("button"))
    tile.get_by_role("button").first.wait_for(timeout=30_000)
    one.page.get_by_role("searchbox", name=one.words("library.search")).fill("Ada Holm")
    one.page.get_by_text("It was built in 1732 by Ada Holm.").first.wait_for()
    assert one.fits()
    site.actor.plays(
        "Who built", think("I look. "), Piece("search", f"{one.device} bridge"), answer("Ada [citation:1].")
    )
    one.page.goto("/")
    one.press("composer.search")
    reply = one.ask_and_wait(f"Who built the {one.device} bridge?")
    reply.locator(".citation").click()
    card = one.page.get_by_role("dialog").filter(has_text="1732")
    card.wait_for()
    assert one.words("sources.library") in card.inner_text()
    one.press("sources.close")
    one.page.goto("/library")
    remove = one.page.get_by_role("button", name=re.compile(f".*{one.device}.*")).filter(
        has_text=one.words("library.remove")
    )
    remove.click()
    one.press("library.remove", one.page.get_by_role("dialog"))
    remove.wait_for(state="detached")


def test_training_is_shown_as_it_goes(talk, site):
    one_run = site.folder / "runs" / "grpo-1"
    one_run.mkdir(exist_ok=True)
    (one_run / "recipe.toml").write_text('[rl]\nalgorithm = "grpo"\n\n[train]\nsteps = 40\n', encoding="utf-8")

    def log(last: int) -> None:
        lines = [
            {"step": step, "reward": step / 40, "length": 90 + step, "loss": 1 / (step + 1)} for step in range(last)
        ]
        (one_run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    log(20)
    said = {"step": 10, "task": "gcd", "prompt": "What is gcd(12, 18)?", "expected": "6", "thought": "t", "answer": "6"}
    said |= {"tokens": 7, "reward": 1.0, "parts": {"accuracy": 1.0}, "advantage": 0.5}
    (one_run / "rollouts.jsonl").write_text(json.dumps(said) + "\n", encoding="utf-8")
    one = talk("/runs")
    one.page.get_by_role("link", name=re.compile("grpo-1")).click()
    one.page.locator("canvas").nth(2).wait_for()
    for curve in ("reward", "length", "loss"):
        assert (
            one.page.get_by_role("region", name=one.words("runs.curves"))
            .get_by_text(one.words(f"runs.{curve}"))
            .count()
        )
    one.page.get_by_text("What is gcd(12, 18)?").wait_for()
    one.page.get_by_text(one.words("runs.stepOf", step=19, steps=40)).wait_for()
    assert one.fits()
    log(31)
    one.page.get_by_text(one.words("runs.stepOf", step=30, steps=40)).wait_for()


def test_usage_stands_beside_what_others_charge(asked):
    one, _ = asked("Ledgers")
    one.page.goto("/usage")
    one.page.get_by_role("heading", name=one.words("usage.title"), level=1).wait_for()
    table = one.page.get_by_role("table").first
    table.get_by_role("row").nth(1).wait_for()
    for column in ("requests", "prompt", "thought", "answer", "here"):
        assert one.words(f"usage.{column}") in table.inner_text()
    assert {"R1", "o1"} <= set(table.inner_text().split())
    assert one.fits()


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_key_is_asked_for_kept_and_brought_by_a_link(browser, tmp_path, device):
    """Against a server that wants one; the link is what the QR code of --lan holds."""
    words = Words("en")
    with serving(tmp_path, keys=True) as site:
        with site.store.write() as connection:
            secret = keys.create(connection, "phone")
        context = browser.new_context(base_url=site.origin, service_workers="block")
        context.set_default_timeout(15_000)
        page = context.new_page()
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        page.goto("/")
        dialog = page.get_by_role("dialog", name=words("key.heading"))
        field = dialog.get_by_label(words("key.label"), exact=True)
        field.fill("sk-denken-wrong")
        field.press("Enter")
        dialog.get_by_text(words("key.wrong")).wait_for()
        field.fill(secret)
        dialog.get_by_role("button", name=words("key.use")).click()
        Talk(page, words, device).ask_and_wait("Hello")
        assert page.evaluate("() => [sessionStorage['denken.key'] ?? null, localStorage['denken.key'] ?? null]") == [
            secret,
            None,
        ]
        context.close()
        brought = browser.new_context(base_url=site.origin, service_workers="block")
        page = brought.new_page()
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(f"/#key={secret}")
        page.get_by_role("link", name=re.compile("Hello")).first.wait_for()
        assert secret not in page.url
        assert page.get_by_role("dialog").count() == 0
        brought.close()
        assert not any(secret in address for address in addresses)


def test_the_sidebar_folds_and_the_drawer_closes(talk):
    one = talk()
    bar = one.sidebar()
    bar.wait_for()
    if one.device == "desktop":
        one.press("around.hide")
        one.page.get_by_role("button", name=one.words("around.show")).wait_for()
        one.page.reload()
        one.press("around.show")
    else:
        one.page.keyboard.press("Escape")
        bar.wait_for(state="detached")
        one.sidebar().get_by_role("link", name=one.words("usage.title")).click()
        one.page.wait_for_url("**/usage")
        bar.wait_for(state="detached")


def test_the_keyboard_of_a_phone_leaves_the_composer_in_sight(visit):
    """The window is made as small as a keyboard leaves it; letters of 16 pixels keep iOS from zooming in."""
    page = visit("/", "phone")
    box = page.get_by_role("textbox", name=Words("en")("composer.placeholder"))
    box.tap()
    page.set_viewport_size({"width": 390, "height": 420})
    time.sleep(0.1)
    area = box.bounding_box()
    assert area["y"] + area["height"] <= 420
    send = page.get_by_role("button", name=Words("en")("composer.send")).bounding_box()
    assert send["y"] + send["height"] <= 420
    fields = page.locator("input, textarea")
    sizes = fields.evaluate_all("(fields) => fields.map((field) => parseFloat(getComputedStyle(field).fontSize))")
    assert all(size >= 16 for size in sizes)
