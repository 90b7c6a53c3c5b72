"""What is around the conversation: the list, its menus, links to share, settings, the key, the keys of the keyboard."""

from __future__ import annotations

import json
import re
from urllib.parse import urlparse

import pytest
from acting import serving


def export_of(*titles: str) -> bytes:
    """A file as ChatGPT exports conversations, one for each title."""

    def message(name: str, role: str, text: str, parent: str) -> dict:
        content = {"content_type": "text", "parts": [text]}
        said = {"id": name, "author": {"role": role}, "create_time": 1.7e9, "content": content}
        return {"id": name, "parent": parent, "children": [], "message": said}

    def conversation(number: int, title: str) -> dict:
        root = {"id": "root", "message": None, "parent": None, "children": ["q"]}
        nodes = [message("q", "user", f"Question of {title}", "root"), message("a", "assistant", "Answered.", "q")]
        return {
            "title": title,
            "conversation_id": f"{title}-{number}",
            "create_time": 1.7e9 - number * 60,
            "update_time": 1.7e9 - number * 60,
            "current_node": "a",
            "mapping": {"root": root} | {node["id"]: node for node in nodes},
        }

    return json.dumps([conversation(number, title) for number, title in enumerate(titles)]).encode()


def bring(talk, *titles: str) -> None:
    """Conversations of these titles, by the import of the settings."""
    talk.sidebar().get_by_role("button", name=talk.words("settings.title")).click()
    with talk.page.expect_file_chooser() as chooser:
        talk.press("settings.importChoose")
    file = {"name": "conversations.json", "mimeType": "application/json", "buffer": export_of(*titles)}
    chooser.value.set_files(file)
    talk.page.get_by_text(
        talk.words.like("settings.imported_other" if len(titles) > 1 else "settings.imported_one")
    ).wait_for()
    talk.press("around.close")
    if talk.device == "phone":
        talk.press("around.closeMenu")


def link(talk, title: str):
    return talk.page.get_by_role("navigation").get_by_role("link", name=title, exact=True)


def closed_drawer(talk) -> None:
    if talk.device == "phone" and talk.page.locator("dialog.drawer").count():
        talk.press("around.closeMenu")


def test_a_conversation_is_named_pinned_and_found(talk):
    one = talk()
    one.ask_and_wait("Walrus and narwhal")
    title = one.page.title().rpartition(" · ")[0]
    one.choose(title, "rename")
    name = one.page.get_by_role("textbox", name=one.words("around.name"))
    name.fill("Not this")
    name.press("Escape")
    link(one, title).wait_for()
    closed_drawer(one)
    one.choose(title, "rename")
    name.fill("Beasts")
    name.press("Enter")
    link(one, "Beasts").wait_for()
    closed_drawer(one)
    one.choose("Beasts", "pin")
    one.page.get_by_role("heading", name=one.words("around.pinned"), exact=True).wait_for()
    one.page.reload()
    bar = one.sidebar()
    link(one, "Beasts").wait_for()
    bar.get_by_role("searchbox").fill("narwhal")
    bar.locator("mark").first.wait_for()
    assert bar.locator("mark").first.inner_text() == "narwhal"
    bar.get_by_role("searchbox").fill("no such words anywhere")
    bar.get_by_text(one.words("around.hits_other", count=0)).wait_for()
    assert one.fits()


def test_what_was_deleted_comes_back(talk):
    one = talk()
    one.ask_and_wait("Delete me")
    address, title = one.page.url, one.page.title().rpartition(" · ")[0]
    one.choose(title, "delete")
    one.page.wait_for_url(lambda url: urlparse(url).path == "/")
    assert link(one, title).count() == 0
    one.press("around.undo")
    one.page.wait_for_url(address)
    one.page.get_by_role("article").first.wait_for()
    closed_drawer(one)
    one.sidebar()
    link(one, title).wait_for()


def test_a_conversation_is_taken_along_as_a_file(talk):
    one = talk()
    one.ask_and_wait("Take me along")
    title = one.page.title().rpartition(" · ")[0]
    for item, ending in (("exportMarkdown", ".md"), ("exportJson", ".json")):
        with one.page.expect_download() as download:
            one.choose(title, item)
        assert download.value.suggested_filename.endswith(ending)
        assert "Take me along" in download.value.path().read_text(encoding="utf-8")
        closed_drawer(one)


def test_a_link_shows_a_conversation_until_it_is_withdrawn(talk, visit, origin):
    one = talk()
    one.ask_and_wait("Show me around")
    one.choose(one.page.title().rpartition(" · ")[0], "share")
    one.press("around.shareMake")
    address = one.page.get_by_role("textbox", name=one.words("around.shareAddress")).input_value()
    assert address.startswith(f"{origin}/shared/")
    guest = visit(urlparse(address).path, "phone", "de")
    guest.get_by_text("Show me around").last.wait_for()
    assert guest.get_by_role("textbox").count() == 0
    one.press("around.shareWithdraw")
    one.page.get_by_role("button", name=one.words("around.shareMake")).wait_for()
    guest.reload()
    guest.get_by_text("Vielleicht wurde er zurückgezogen").wait_for()


def test_an_export_of_chatgpt_is_imported_once(talk):
    one = talk()
    name = f"Kiel on a {one.device}"
    bring(one, name)
    one.sidebar()
    link(one, name).click()
    one.page.get_by_text("Answered.").wait_for()
    one.sidebar().get_by_role("button", name=one.words("settings.title")).click()
    with one.page.expect_file_chooser() as chooser:
        one.press("settings.importChoose")
    chooser.value.set_files({"name": "x.json", "mimeType": "application/json", "buffer": export_of(name)})
    one.page.get_by_text(one.words("settings.importSkipped_one", count=1)).wait_for()


def test_a_long_list_goes_on_where_it_ends(talk):
    one = talk()
    bring(one, *(f"Many {one.device} {number}" for number in range(70)))
    last = link(one, f"Many {one.device} 69")
    scroller = one.sidebar().locator(".conversations")
    scroller.get_by_role("link").nth(30).wait_for()
    assert last.count() == 0
    for _ in range(20):
        scroller.evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
        one.page.wait_for_timeout(100)
        if last.count():
            break
    last.click()
    one.page.get_by_text(f"Question of Many {one.device} 69").first.wait_for()


def test_language_and_colours_are_chosen_and_kept(talk):
    one = talk()
    given, other = ("en", "Deutsch") if one.words("app.skip").startswith("Skip") else ("de", "English")
    one.sidebar().get_by_role("button", name=one.words("settings.title")).click()
    one.page.get_by_role("radio", name=one.words("settings.dark")).check()
    one.page.get_by_role("radio", name=other).check()
    one.page.reload()
    root = one.page.locator("html")
    assert root.get_attribute("lang") == {"en": "de", "de": "en"}[given]
    assert root.get_attribute("data-scheme") == "dark"
    assert one.page.evaluate("() => getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_the_colours_are_there_before_anything_is_painted(visit):
    page = visit("/")
    page.evaluate("() => localStorage.setItem('denken.scheme', 'dark')")
    page.route("**/assets/*.js", lambda route: route.abort())
    page.goto("/", wait_until="commit")
    page.locator("html[data-scheme=dark]").wait_for(state="attached")


@pytest.fixture(autouse=True)
def _expected(watched):
    watched.expected += ["status of 401", "status of 404", "ERR_FAILED"]


def test_keys_do_what_the_list_says(visit):
    page = visit("/")
    page.get_by_role("textbox", name="Ask something").wait_for()
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+S")
    page.get_by_role("button", name="Show the sidebar").wait_for()
    page.keyboard.press("Control+K")
    search = page.get_by_role("searchbox", name="Search conversations")
    search.wait_for()
    page.wait_for_function("() => document.activeElement.id === 'search'")
    page.keyboard.type("why?")  # the question mark is written, and opens nothing
    assert search.input_value() == "why?"
    assert page.get_by_role("dialog").count() == 0
    page.goto("/library")
    page.keyboard.press("Control+Shift+O")
    page.get_by_role("textbox", name="Ask something").fill("By keys alone")
    page.keyboard.press("Enter")
    page.wait_for_url("**/c/*")
    page.locator(".answer .tools").wait_for()
    page.keyboard.press("Control+Shift+Backspace")
    page.get_by_role("button", name="Undo").wait_for()
    page.wait_for_url(lambda url: urlparse(url).path == "/")


def test_a_menu_is_walked_by_keys_and_gives_the_focus_back(visit, talk):
    one = talk()
    if one.device == "phone":
        return
    bring(one, "Walked")
    button = one.page.get_by_role("button", name=one.words("around.menuOf", title="Walked"))
    button.focus()
    one.page.keyboard.press("Enter")
    focused = "() => document.activeElement.textContent"
    one.page.wait_for_function(f"({focused})() === 'Rename'")
    one.page.keyboard.press("End")
    assert one.page.evaluate(focused) == "Delete"
    one.page.keyboard.press("ArrowDown")
    assert one.page.evaluate(focused) == "Rename"
    one.page.keyboard.press("Escape")
    one.page.wait_for_function("() => document.activeElement.getAttribute('aria-label')?.includes('Walked')")


def test_the_drawer_of_a_phone_closes_as_one_expects(visit):
    page = visit("/", "phone")
    menu, drawer = page.get_by_role("button", name="Open the menu"), page.locator("dialog.drawer")
    menu.tap()
    drawer.wait_for()
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Open the menu"
    menu.tap()
    drawer.wait_for()
    page.touchscreen.tap(380, 400)
    drawer.wait_for(state="detached")
    menu.tap()
    drawer.wait_for()
    fingers = page.context.new_cdp_session(page)
    for kind, x in (("touchStart", 250), ("touchMove", 150), ("touchMove", 60)):
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": 300}]})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    drawer.wait_for(state="detached")
    menu.tap()
    page.get_by_role("link", name="Library").tap()
    drawer.wait_for(state="detached")
    page.get_by_role("heading", name="Library", level=1).wait_for()


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A site that asks for a key, and one of its keys."""
    with serving(tmp_path_factory.mktemp("locked"), keys=True) as site:
        yield site, site.desk.first_key()


@pytest.fixture
def guest(browser, locked):
    """Opens an address of the locked site in a browser of its own."""
    contexts = []

    def open_page(path: str = "/", context=None):
        if context is None:
            context = browser.new_context(locale="en-US", base_url=locked[0].origin, service_workers="block")
            context.set_default_timeout(15_000)
            contexts.append(context)
        page = context.new_page()
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


KEPT = "() => [sessionStorage.getItem('denken.key'), localStorage.getItem('denken.key')]"
NONE_YET = "Your conversations will be listed here."


def test_a_key_is_typed_once_for_everything_that_waits_for_it(guest, locked):
    page = guest()
    dialog = page.get_by_role("dialog", name="This server asks for a key")
    dialog.wait_for()
    page.wait_for_timeout(300)
    assert dialog.count() == 1
    page.wait_for_function("() => document.activeElement.name === 'key'")
    page.keyboard.type("sk-denken-wrong")
    page.keyboard.press("Enter")
    page.get_by_text("This key is not in use here").wait_for()
    page.get_by_role("textbox", name="Key").or_(page.get_by_label("Key", exact=True)).first.fill(locked[1])
    page.keyboard.press("Enter")
    page.get_by_text(NONE_YET).wait_for()
    assert page.evaluate(KEPT) == [locked[1], None]
    page.reload()
    page.get_by_text(NONE_YET).wait_for()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Forget the key").click()
    assert page.evaluate(KEPT) == [None, None]


def test_whoever_declines_is_left_in_peace_until_they_ask(guest, locked):
    page = guest()
    page.get_by_role("button", name="Cancel").click()
    enter = page.get_by_role("button", name="Enter the key").first
    enter.wait_for()
    page.get_by_role("link", name="Library").click()
    page.get_by_role("heading", name="Library", level=1).wait_for()
    page.wait_for_timeout(300)
    assert page.get_by_role("dialog").count() == 0
    enter.click()
    page.get_by_label("Key", exact=True).fill(locked[1])
    page.get_by_role("checkbox", name="Remember").check()
    page.keyboard.press("Enter")
    page.get_by_text(NONE_YET).wait_for()
    assert page.evaluate(KEPT) == [None, locked[1]]


def test_a_link_brings_a_key_along_and_no_address_keeps_it(guest, locked):
    page = guest(f"/#key={locked[1]}")
    page.get_by_text(NONE_YET).wait_for()
    assert urlparse(page.url).fragment == ""
    assert page.evaluate(KEPT) == [None, locked[1]]
    # A stranger's link does not make somebody talk under the stranger's key.
    other = guest("/#key=sk-denken-strangers", page.context)
    other.get_by_text(NONE_YET).wait_for()
    assert other.evaluate(KEPT) == [None, locked[1]]
    # A key that is not in use any more gives way to the one of the link.
    other.evaluate("() => localStorage.setItem('denken.key', 'sk-denken-old')")
    third = guest(f"/#key={locked[1]}", page.context)
    third.get_by_text(NONE_YET).wait_for()
    assert third.evaluate(KEPT) == [None, locked[1]]
    assert not re.search("key=", third.url)
