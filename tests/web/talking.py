"""The page as a person uses it, in one line each: everything is found by the words that the page itself has for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TEXTS = Path(__file__).parents[2] / "web" / "src" / "texts"


class Words:
    """The page's texts in a language: `words("composer.send")` is "Send"; `words.like` is a pattern for those with
    places to fill in."""

    def __init__(self, language: str):
        self._texts = json.loads((TEXTS / f"{language}.json").read_text(encoding="utf-8"))

    def __call__(self, text: str, /, **values: object) -> str:
        return re.sub(r"{{\s*(\w+)\s*}}", lambda place: str(values[place[1]]), self._text(text))

    def _text(self, name: str) -> str:
        found: Any = self._texts
        for part in name.split("."):
            found = found[part]
        return str(found)

    def like(self, name: str) -> re.Pattern[str]:
        found = self._text(name)
        return re.compile(".+".join(map(re.escape, re.split(r"{{.*?}}", found))))


class Talk:
    """A page with a conversation, on a device."""

    def __init__(self, page: Any, words: Words, device: str):
        self.page, self.words, self.device = page, words, device

    @property
    def id(self) -> str:
        self.page.wait_for_url("**/c/*")
        return str(self.page.url.rpartition("/")[2])

    @property
    def box(self) -> Any:
        return self.page.get_by_role("textbox", name=self.words("composer.placeholder"))

    @property
    def answers(self) -> Any:
        return self.page.get_by_role("article", name=self.words("thread.answer"), exact=True)

    @property
    def answer(self) -> Any:
        return self.answers.last

    @property
    def questions(self) -> Any:
        return self.page.get_by_role("article", name=self.words("thread.question"), exact=True)

    def ask(self, text: str) -> None:
        self.box.fill(text)
        self.press("composer.send")

    def press(self, text: str, within: Any = None, /, **values: object) -> None:
        (within or self.page).get_by_role("button", name=self.words(text, **values), exact=True).last.click()

    def wait(self) -> Any:
        """Until the answer is there; returns it."""
        self.page.locator("article.answer[aria-busy=true]").wait_for(state="detached")
        self.answer.wait_for()
        return self.answer

    def ask_and_wait(self, text: str) -> Any:
        """Returns the answer."""
        before = self.answers.count()
        self.ask(text)
        self.answers.nth(before).wait_for()
        return self.wait()

    def sidebar(self) -> Any:
        """What lists the conversations; on a phone it is opened."""
        if self.device == "phone":
            self.press("around.menu")
        return self.page.get_by_role("navigation", name=self.words("around.sidebar"))

    def choose(self, title: str, item: str) -> None:
        """An item of the menu of a conversation in the list."""
        bar = self.sidebar()
        bar.get_by_role("button", name=self.words("around.menuOf", title=title), exact=True).click()
        self.page.get_by_role("menuitem", name=self.words(f"around.{item}"), exact=True).click()

    def fits(self) -> bool:
        """Whether nothing stands out at the side."""
        return bool(self.page.evaluate("() => document.scrollingElement.scrollWidth <= innerWidth"))
