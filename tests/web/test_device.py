"""The model on the device: fetched once, it thinks and answers in the browser with neither network nor server."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from acting import serving, taken_along
from talking import Talk, Words

from denken.about import read_about
from denken.assistant import BUNDLED, load
from denken.chat.message import Message
from denken.chat.template import render
from denken.serve import website

pytest.importorskip("gguf", reason="the model's file is made with gguf: pip install -e .")

DEVICES = [("desktop", "en"), ("phone", "de")]
# What a browser says of requests that find nobody.
NOBODY = ["ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED", "ERR_FAILED"]


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    made = taken_along(tmp_path_factory.mktemp("device"))
    made.made()
    return made


@pytest.fixture
def running():
    with ExitStack() as held:
        yield held


@pytest.fixture
def site(tmp_path, device, running):
    """A server of this test's own, which the test can stop: `running.close()`."""
    return running.enter_context(serving(tmp_path, device=device))


@pytest.fixture(params=DEVICES, ids=lambda given: "-".join(given))
def taken(request, visit):
    """A page whose person has fetched the model, by the words that they read."""
    return take(visit, *request.param)


def take(visit, device: str, language: str) -> Talk:
    words = Words(language)
    page = visit("/", device, language, service_workers="allow")
    page.wait_for_function("() => navigator.serviceWorker.controller !== null")
    talk = Talk(page, words, device)
    picker(talk).select_option(label=words("device.choose"))
    dialog = page.get_by_role("dialog", name=words("device.title"))
    dialog.get_by_role("button", name=words.like("device.fetch")).click()
    dialog.get_by_text(words("device.isThere")).wait_for()
    talk.press("around.close", dialog)
    picker(talk).get_by_text(words("device.name" if device == "desktop" else "device.short")).wait_for(state="attached")
    return talk


def picker(talk: Talk):
    return talk.page.get_by_role("combobox", name=talk.words("composer.model"))


def thought_of(answer) -> str:
    fold = answer.locator(".thought .fold")
    if fold.get_attribute("aria-expanded") != "true":
        fold.click()
    return answer.locator(".thought .panel").inner_text()


def test_it_answers_with_neither_network_nor_server_and_keeps_what_was_said(taken, running, watched):
    watched.expected += NOBODY
    page, words = taken.page, taken.words
    question, second = (
        ("Was ist 17 mal 23?", "5 + 6 = ?") if taken.device == "phone" else ("What is 17 times 23?", "5 + 6?")
    )
    running.close()
    page.context.set_offline(True)
    page.reload()
    page.locator(".offline").get_by_text(words("offline.saysHere")).wait_for()
    answer = taken.ask_and_wait(question)
    assert "17*23" in thought_of(answer)
    assert answer.locator(":scope > .prose").inner_text().strip() == "391"
    taken.press("thread.details", answer)
    figures = page.locator("dl.figures").inner_text().split("\n")
    speed = figures[figures.index(words("device.speed")) + 1]
    print(f"\n{taken.device}: {speed} tokens/s in one reply, its beginning included")
    page.keyboard.press("Escape")

    page.reload()
    assert "391" in taken.wait().inner_text()
    assert question in taken.questions.inner_text()
    assert "11" in taken.ask_and_wait(second).inner_text()
    taken.press("device.noSearchLabel")
    page.get_by_text(words("device.noSearch")).wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name=words("composer.attach")).is_disabled()
    taken.sidebar().get_by_role("link", name=question).wait_for()
    assert taken.fits()


def test_a_conversation_goes_to_the_server_only_when_somebody_says_so(visit, site):
    talk = take(visit, "desktop", "en")
    page, words, question = talk.page, talk.words, "What is 17 times 23?"
    talk.ask_and_wait(question)
    talk.choose(question, "delete")
    bar = talk.sidebar()
    bar.get_by_role("link", name=question).wait_for(state="detached")
    talk.press("around.undo")
    bar.get_by_role("link", name=question).wait_for()
    assert "391" in talk.wait().inner_text()

    listed = "() => fetch('/app/conversations').then((response) => response.json())"
    assert page.evaluate(listed)["conversations"] == []
    assert site.actor.asks == []
    talk.choose(question, "rename")
    page.get_by_role("textbox", name=words("around.name")).fill("Tables")
    page.keyboard.press("Enter")
    bar.get_by_role("button", name=words("around.menuOf", title="Tables"), exact=True).click()
    page.get_by_role("menuitem", name=words("device.handOver")).click()
    page.get_by_text(words("device.handedOver", title="Tables")).wait_for()
    (line,) = page.evaluate(listed)["conversations"]
    assert line["title"] == "Tables"
    bar.get_by_role("link", name="Tables").click()
    assert "391" in talk.wait().inner_text()
    assert talk.id == line["id"]


def test_what_was_cut_off_and_a_file_that_was_changed_are_told(visit, site):
    talk = take(visit, "desktop", "en")
    page, words, question = talk.page, talk.words, "What is 17 times 23?"
    talk.ask_and_wait(question)
    page.evaluate(
        """() => new Promise((resolve) => {
          const opening = indexedDB.open("denken");
          opening.onsuccess = () => {
            const messages = opening.result.transaction("messages", "readwrite").objectStore("messages");
            messages.getAll().onsuccess = ({ target }) => {
              const reply = target.result.find((message) => message.role === "assistant");
              messages.put({ ...reply, content: "", state: "running", stream: reply.id }).onsuccess = resolve;
            };
          };
        })"""
    )
    page.reload()
    page.get_by_text(words("device.interrupted")).wait_for()

    page.evaluate(
        """async () => {
          const cache = await caches.open("denken-device");
          const file = (await cache.keys()).find(({ url }) => url.endsWith(".gguf"));
          await cache.put(file.url, new Response("GGUF"));
        }"""
    )
    page.goto("/")
    talk.ask(question)
    # What was meant for this device is not sent to the server instead.
    page.get_by_role("alert").get_by_text(words("device.damaged")).wait_for()
    assert site.actor.asks == []


def test_fetching_is_called_off_checked_and_undone(visit, watched):
    watched.expected += NOBODY
    words = Words("en")
    talk = Talk(visit("/"), words, "desktop")
    page = talk.page
    picker(talk).select_option(label=words("device.choose"))
    dialog = page.get_by_role("dialog", name=words("device.title"))
    fetch = dialog.get_by_role("button", name=words.like("device.fetch"))
    kept = """async () => [
      localStorage.getItem("denken.device"),
      (await (await caches.open("denken-device")).keys()).length,
    ]"""

    page.route("**/app/device/*.gguf", lambda route: None)  # never answered
    fetch.click()
    dialog.get_by_role("progressbar", name=words("device.fetching")).wait_for()
    talk.press("device.cancel", dialog)
    fetch.wait_for()
    page.unroute("**/app/device/*.gguf")

    page.route("**/app/device/*.gguf", lambda route: route.fulfill(body="GGUF, but another"))
    fetch.click()
    dialog.get_by_text(words("device.spoilt")).wait_for()
    assert page.evaluate(kept) == [None, 0]
    page.unroute("**/app/device/*.gguf")

    fetch.click()
    dialog.get_by_text(words("device.isThere")).wait_for()
    talk.press("device.remove", dialog)
    fetch.wait_for()
    page.wait_for_function("() => caches.has('denken-device').then((there) => !there)")
    assert page.evaluate(kept) == [None, 0]


# In the place of the worker: it thinks one word, and is then silent until it is stopped.
SILENT = """window.Worker = class {
  tell(data) { setTimeout(() => this.onmessage({ data })); }
  postMessage({ kind, number }) {
    const counted = { prompt_tokens: 3, cached_tokens: 0, thought_tokens: 1, answer_tokens: 0 };
    if (kind === "open") this.tell({ kind: "opened", memory: 1 });
    if (kind === "ask") this.tell({ kind: "said", number, pieces: [{ kind: "think", text: "Hmm" }] });
    if (kind === "stop") this.tell({ kind: "ended", number, end: "stopped", counted, leftOut: 0, message: "" });
  }
  terminate() {}
}"""


def test_a_reply_is_stopped_and_another_tab_sees_it_come_and_end(visit, device, site):
    words = Words("en")
    page = visit("/")
    page.evaluate("(offer) => localStorage.setItem('denken.device', offer)", json.dumps(device.record()))
    page.evaluate("() => localStorage.setItem('denken.composer', '{\"here\": true}')")
    page.context.add_init_script(SILENT)
    page.reload()
    talk = Talk(page, words, "desktop")
    talk.ask("Are you there?")
    talk.answer.get_by_text("Hmm").wait_for()
    other = Talk(visit(page.url, context=page.context), words, "desktop")
    other.page.locator("article.answer[aria-busy=true]").wait_for()
    talk.press("composer.stop")
    for one in (talk, other):
        assert words("thread.stopped") in one.wait().inner_text()
    page.reload()
    assert words("thread.stopped") in talk.wait().inner_text()
    assert site.actor.asks == []


# The worker itself, as the page uses it.
ASKS = """async ([worker, offer, wasm, questions, stops]) => {
  const model = new Worker(worker, { type: "module" });
  const heard = (kind) => new Promise((resolve, reject) => model.addEventListener("message", function on({ data }) {
    if (data.kind === "failed") reject(new Error(data.message));
    if (data.kind !== kind) return;
    model.removeEventListener("message", on);
    resolve(data);
  }));
  const said = {};
  model.addEventListener("message", ({ data }) => {
    for (const { kind, text } of data.pieces ?? []) (said[data.number] ??= { think: "", answer: "" })[kind] += text;
  });
  const began = performance.now();
  model.postMessage({ kind: "open", offer, wasm });
  const { memory } = await heard("opened");
  const opened = performance.now() - began;
  const replies = [];
  for (const [number, question] of questions.entries()) {
    const from = performance.now();
    const asked = { history: [], question, thinking: true, effort: null, leftOut: 0 };
    model.postMessage({ kind: "ask", number, asked });
    if (stops) model.postMessage({ kind: "stop", number });
    const { end, counted } = await heard("ended");
    replies.push({ end, counted, ...said[number], seconds: (performance.now() - from) / 1000 });
  }
  return { memory, opened, replies };
}"""


# As the page keeps it, without the page.
KEEPS = """async (url) => (await caches.open("denken-device")).put(url, await fetch(url))"""


def asked(page, device, questions, *, stops: bool = False):
    parts = website.parts()
    worker = next(f"/{path}" for path in parts if path.startswith(website.COMPUTES))
    wasm = next(f"/{path}" for path in parts if path.endswith(".wasm"))
    return page.evaluate(ASKS, [worker, device.record(), wasm, questions, stops])


def test_the_browser_says_what_the_server_would_say(visit, device):
    page = visit("/")
    page.evaluate(KEEPS, device.record()["file"]["url"])
    examples = read_about(BUNDLED).examples
    questions = [*examples["en"][:2], *examples["de"][2:], "Spell <think> backwards."]
    found = asked(page, device, questions)
    with load("bundled", threads=1) as assistant:
        for question, reply in zip(questions, found["replies"], strict=True):
            ours = assistant.ask(question)
            assert reply["end"] == "done"
            assert (reply["think"].strip(), reply["answer"].strip()) == (ours.thought, ours.text), question
            counted = reply["counted"]
            assert counted["prompt_tokens"] == len(render([Message("user", question)], assistant.tokenizer).ids)
            assert (counted["thought_tokens"], counted["answer_tokens"]) == (ours.thought_tokens, ours.answer_tokens)
    tokens = sum(reply["counted"]["thought_tokens"] + reply["counted"]["answer_tokens"] for reply in found["replies"])
    seconds = sum(reply["seconds"] for reply in found["replies"])
    print(
        f"\n{tokens / seconds:.0f} tokens/s over {len(questions)} replies with their prompts; "
        f"opened in {found['opened']:.0f} ms, {found['memory'] / 2**20:.0f} MiB"
    )


def test_a_reply_is_stopped_between_two_tokens_and_the_page_itself_may_not_compute(visit, device, watched):
    watched.expected.append("Content Security Policy")
    page = visit("/")
    page.evaluate(KEEPS, device.record()["file"]["url"])
    (reply,) = asked(page, device, ["Sort these numbers: 9, -3, 27, 4, 8, 15, -16, 23, 42"], stops=True)["replies"]
    assert reply["end"] == "stopped"
    empty = json.dumps([0, 97, 115, 109, 1, 0, 0, 0])
    said = page.evaluate(f"() => WebAssembly.compile(new Uint8Array({empty})).then(() => 'compiled', String)")
    assert "Content Security Policy" in said
