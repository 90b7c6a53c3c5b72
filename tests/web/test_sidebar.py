"""The sidebar to the letter: its list, its menus, its keys, the drawer of a phone, and keys that are asked for."""

from __future__ import annotations

import json
from urllib.parse import urlparse

import pytest
from acting import serving
from talking import Talk, Words


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


@pytest.fixture
def desk(visit):
    """The page at a desk, in English."""
    return lambda path="/": Talk(visit(path), Words("en"), "desktop")


@pytest.fixture
def phone(visit):
    """The page on a phone, in German."""
    return lambda path="/": Talk(visit(path, "phone", "de"), Words("de"), "phone")


def test_a_name_that_was_not_meant_is_not_kept(desk):
    one = desk()
    bring(one, "Keep my name")
    one.choose("Keep my name", "rename")
    name = one.page.get_by_role("textbox", name=one.words("around.name"))
    name.fill("Not this")
    name.press("Escape")
    link(one, "Keep my name").wait_for()
    one.choose("Keep my name", "rename")
    name.fill("   ")
    name.press("Enter")
    one.page.reload()
    link(one, "Keep my name").wait_for()


def test_a_conversation_that_is_open_is_deleted_and_opened_again(phone):
    one = phone()
    bring(one, "Open and deleted")
    one.sidebar()
    link(one, "Open and deleted").tap()
    one.page.get_by_text("Answered.").wait_for()
    address = one.page.url
    one.page.locator("header.top").get_by_text("Open and deleted").wait_for()
    one.choose("Open and deleted", "delete")
    one.page.wait_for_url(lambda url: urlparse(url).path == "/")
    undo = one.page.get_by_role("button", name=one.words("around.undo"))
    box = undo.bounding_box()
    assert box["x"] + box["width"] <= 390
    undo.tap()
    one.page.wait_for_url(address)
    one.page.get_by_text("Answered.").wait_for()


def test_what_was_imported_is_not_imported_again(desk):
    one = desk()
    bring(one, "Only once")
    one.press("settings.title")
    with one.page.expect_file_chooser() as chooser:
        one.press("settings.importChoose")
    chooser.value.set_files({"name": "x.json", "mimeType": "application/json", "buffer": export_of("Only once")})
    one.page.get_by_text(one.words("settings.importSkipped_one", count=1)).wait_for()


def test_a_long_list_goes_on_where_it_ends(phone):
    one = phone()
    bring(one, *(f"Many {number}" for number in range(55)))
    scroller, last = one.sidebar().locator(".conversations"), link(one, "Many 54")
    scroller.get_by_role("link").nth(40).wait_for()
    assert last.count() == 0
    for _ in range(50):
        scroller.evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
        one.page.wait_for_timeout(100)
        if last.count():
            break
    last.tap()
    one.page.get_by_text("Question of Many 54").first.wait_for()


def test_the_colours_are_there_before_anything_is_painted(visit, watched):
    watched.expected += ["ERR_FAILED", "status of 404"]
    # A place of the same site where no program runs that would miss its parts; its symbol is looked for in vain.
    page = visit("/icon.svg")
    page.evaluate("() => localStorage.setItem('denken.scheme', 'dark')")
    page.route("**/assets/*.js", lambda route: route.abort())
    page.goto("/", wait_until="commit")
    page.locator("html[data-scheme=dark]").wait_for(state="attached")


def test_keys_do_what_the_list_says(visit, watched):
    watched.expected += ["status of 404"]
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
    page.get_by_role("heading", name="Library", level=1).wait_for()  # before that nobody listens to keys
    page.keyboard.press("Control+Shift+O")
    page.get_by_role("textbox", name="Ask something").fill("By keys alone")
    page.keyboard.press("Enter")
    page.wait_for_url("**/c/*")
    page.locator(".answer .tools").wait_for()
    page.keyboard.press("Control+Shift+Backspace")
    page.get_by_role("button", name="Undo").wait_for()
    page.wait_for_url(lambda url: urlparse(url).path == "/")


def test_a_menu_is_walked_by_keys_and_gives_the_focus_back(desk):
    one = desk()
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
    assert "key=" not in third.url


def test_what_the_server_says_later_moves_no_entry_that_is_there(talk):
    """Else whoever presses just then lets go of another entry, and the click is lost."""
    one = talk()
    held = []
    one.page.route("**/app/state", lambda route: held.append(route))
    one.page.reload()
    bar = one.sidebar()
    names = [one.words(name) for name in ("around.newChat", "library.title", "usage.title")]
    links = [bar.get_by_role("link", name=name, exact=True) for name in names]
    before = [link.bounding_box()["y"] for link in links]
    runs = bar.get_by_role("link", name=one.words("runs.title"), exact=True)
    assert held
    assert runs.count() == 0
    for request in held:
        request.continue_()
    runs.wait_for()
    assert [link.bounding_box()["y"] for link in links] == before
