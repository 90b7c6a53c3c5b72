"""The pages beside the conversation: the library, training as it goes, usage, what was shared."""

from __future__ import annotations

import json

from talking import Talk, Words

RECIPE = '[rl]\nalgorithm = "grpo"\n\n[train]\nsteps = 9\n'


def go(talk, name: str):
    talk.sidebar().get_by_role("link", name=talk.words(f"{name}.title"), exact=True).click()
    talk.page.get_by_role("heading", name=talk.words(f"{name}.title"), level=1).wait_for()
    return talk.page


def test_a_document_is_added_found_read_and_taken_away(visit, watched):
    watched.expected += ["status of 400"]
    one = Talk(visit("/"), Words("en"), "desktop")
    page, words = go(one, "library"), one.words
    name = f"kettle-{one.device}.md"
    text = "# Kettle\n\nThe kettle is descaled after 200 cups, with vinegar."
    files = [
        {"name": "empty.txt", "mimeType": "text/plain", "buffer": b""},
        {"name": name, "mimeType": "text/markdown", "buffer": text.encode()},
    ]
    with page.expect_file_chooser() as chooser:
        one.press("library.choose")
    chooser.value.set_files(files)
    page.get_by_text("empty.txt is empty").wait_for()
    page.get_by_text(words("library.isAdded"), exact=True).wait_for()
    page.get_by_text(name).last.wait_for()
    page.get_by_role("searchbox", name=words("library.search")).fill("descaling vinegar")
    page.get_by_text(words("library.hits_one", count=1)).wait_for()
    page.get_by_role("button", name="Kettle", exact=True).first.click()
    reading = page.get_by_role("dialog", name="Kettle")
    reading.get_by_text("after 200 cups").wait_for()
    assert one.fits()
    one.press("around.close", reading)
    page.get_by_role("textbox", name=words("library.address")).fill("example.org/page")
    with page.expect_request("**/app/library") as sent:
        one.press("library.addPage")
    assert sent.value.post_data_json == {"url": "https://example.org/page"}
    page.get_by_role("button", name=words("library.removeOf", title="Kettle")).click()
    one.press("library.keep")
    page.get_by_role("button", name=words("library.removeOf", title="Kettle")).click()
    one.press("library.remove", page.get_by_role("dialog"))
    page.get_by_text(words("library.removed", title="Kettle")).wait_for()
    page.get_by_text(words("library.none")).wait_for()


def test_files_can_be_dropped_anywhere_on_the_page(visit):
    page = visit("/library")
    page.get_by_role("heading", name="Library", level=1).wait_for()
    drop = """() => {
      const held = new DataTransfer();
      held.items.add(new File(["Dropped words."], "dropped.txt", { type: "text/plain" }));
      for (const kind of ["dragover", "drop"])
        document.querySelector("h1").dispatchEvent(
          new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop)
    page.get_by_role("button", name="Remove “dropped").wait_for()


def metrics(step: int) -> str:
    return json.dumps({"step": step, "reward": step / 10, "length": 100, "loss": 0.1, "seconds": 60.0 * step}) + "\n"


def rollout(step: int) -> str:
    said = {"prompt": "What is 2 + 2?", "expected": "4", "thought": "Two and two.", "answer": f"4 at step {step}"}
    return (
        json.dumps({"step": step, "task": "sums", "reward": 1.0, "parts": {"correct": 1.0}, "tokens": 9} | said) + "\n"
    )


def test_a_run_is_watched_while_it_goes(visit, site):
    one = Talk(visit("/", "phone", "de"), Words("de"), "phone")
    folder = site.folder / "runs" / f"watched-{one.device}"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "metrics.jsonl").write_text("".join(map(metrics, range(1, 5))))
    (folder / "rollouts.jsonl").write_text(rollout(3) + rollout(4))
    (folder / "ledger.json").write_text(json.dumps({"seconds": 240, "usd": 0.25, "usd_per_core_hour": 0.02}))
    page, words = go(one, "runs"), one.words
    page.get_by_role("link", name=folder.name).click()
    page.get_by_text(words("runs.running"), exact=True).wait_for()
    page.get_by_role("img", name=words.like("runs.curveSays")).first.wait_for()
    assert page.locator("canvas").count() == 3
    assert page.locator(".legend").first.inner_text().split()[1] in ("0.4", "0,4")
    page.get_by_text(words("runs.asTable")).first.click()
    assert page.locator("figure").first.locator("tbody tr").count() == 4
    page.get_by_text("4 at step 4").wait_for()
    one.press("runs.earlier")
    page.get_by_text("4 at step 3").wait_for()
    page.get_by_text(words("runs.thought"), exact=True).first.click()
    page.get_by_text("Two and two.").wait_for()
    assert one.fits()
    with (folder / "metrics.jsonl").open("a") as log:
        log.write("".join(map(metrics, range(5, 10))))
    page.get_by_text(words("runs.stepOf", step=9, steps=9)).wait_for()
    assert page.locator("figure").first.locator("tbody tr").count() == 9
    page.get_by_text(words("runs.running"), exact=True).wait_for(state="detached")


def test_a_curve_is_drawn_anew_in_the_other_colours(visit, site):
    folder = site.folder / "runs" / "colours"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(map(metrics, range(1, 30))))
    page = visit("/runs/colours", color_scheme="light")
    canvas = page.locator("canvas").first
    canvas.wait_for()
    page.wait_for_timeout(200)
    before = canvas.evaluate("(canvas) => canvas.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(before) => document.querySelector('canvas').toDataURL() !== before", arg=before)


def test_a_link_to_nothing_says_so(visit, watched):
    watched.expected += ["status of 404"]
    page = visit("/shared/there-is-no-such-link", "phone", "de")
    page.get_by_role("alert").get_by_text("Unter diesem Link gibt es kein Gespräch").wait_for()
