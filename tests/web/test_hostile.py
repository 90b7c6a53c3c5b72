"""What a model, a page on the web or a file says is text: it runs nothing, loads nothing, leads nowhere by itself."""

from __future__ import annotations

import json

import pytest
from acting import answer, search, think

from denken.search.found import Source

ELSEWHERE = "https://evil.example"
HOSTILE = [
    "<script>window.owned = 1</script>",
    "<img src=x onerror='window.owned = 2'>",
    f"<img src='{ELSEWHERE}/pixel.png'>",
    f"<iframe src='{ELSEWHERE}'></iframe>",
    f"<iframe srcdoc=\"<script src='{ELSEWHERE}/a.js'></script>\"></iframe>",
    "<svg onload='window.owned = 3'><script>window.owned = 4</script></svg>",
    f"<svg><image href='{ELSEWHERE}/a.svg'/><use href='{ELSEWHERE}/b.svg#x'/></svg>",
    f"<style>body {{ background: url({ELSEWHERE}/css) }} * {{ display: none }}</style>",
    f"<link rel=stylesheet href='{ELSEWHERE}/a.css'><link rel=prefetch href='{ELSEWHERE}/b'>",
    f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    f"<base href='{ELSEWHERE}/'><object data='{ELSEWHERE}'></object><embed src='{ELSEWHERE}'>",
    f"<form action='{ELSEWHERE}'><input name=q autofocus onfocus='window.owned = 5'></form>",
    f"<video src='{ELSEWHERE}/v' autoplay></video><audio src='{ELSEWHERE}/a' autoplay></audio>",
    f"<div style='background-image: url({ELSEWHERE}/style)'>x</div>",
    f"![picture]({ELSEWHERE}/markdown.png)",
    f"![by name][picture]\n\n[picture]: {ELSEWHERE}/by-name.png",
    "![data](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)",
    "[script](javascript:window.owned=6)",
    "[spaced](java&#10;script:window.owned=7) [coded](&#106;avascript:window.owned=8) [vb](vbscript:x)",
    "[data](data:text/html,<script>window.owned=9</script>) [file](file:///etc/passwd) [blob](blob:x)",
    "<javascript:window.owned=10>",
    f"[link]({ELSEWHERE}/followed) [own](//evil.example/x) [relative](/v1/streams/x) <{ELSEWHERE}/auto>",
    r"$\href{javascript:window.owned=11}{x}$ $\url{javascript:window.owned=12}$",
    rf"$$\includegraphics{{{ELSEWHERE}/katex.png}}$$ $\htmlStyle{{background:url({ELSEWHERE}/k)}}{{x}}$",
    r"$\htmlData{onclick=window.owned=13}{x}$ $\htmlClass{frame}{x}$ $\htmlId{root}{x}$",
    r"$\def\x{\x\x}\x$ $\rule{100000em}{100000em}$ $" + r"\frac{1}{" * 400 + "1" + "}" * 400 + "$",
    "```html\n<script>window.owned = 14</script>\n```",
    "```mermaid\ngraph TD; A-->B; click A 'javascript:window.owned=15'\n```",
    "| a |\n|---|\n| <img src=x onerror=window.owned=16> |",
    f"[^1]\n\n[^1]: <img src='{ELSEWHERE}/note'>",
    "[citation:1] [citation:999] [citation:1](javascript:window.owned=17)",
    "> " * 2000 + "deep",
    "[" * 20_000,
    "*" * 20_000,
    "a\u202eb\u0000\ufeff\ud7ff \ue000hit\ue001",
    "</think></section><input type=text id=root>",
]
SOURCES = [
    Source(1, "<img src=x onerror=window.owned=20>", "javascript:window.owned=21", "<script>window.owned=22</script>"),
    Source(2, "![t](https://evil.example/t.png)", "data:text/html,<script>window.owned=23</script>", "# heading" * 50),
    Source(3, "A fine page", f"{ELSEWHERE}/page", "excerpt", "<b>today</b>"),
]
# What would have to be true of any page that is safe to look at.
FOUND = """() => ({
  owned: window.owned ?? null,
  bad: [...document.querySelectorAll('script:not([src^="/"]), iframe, object, embed, base, form[action], video, audio, '
    + 'meta[http-equiv], style, svg image, svg use, svg script')].map((element) => element.outerHTML),
  sheets: [...document.querySelectorAll('link')].map((link) => new URL(link.href).origin),
  pictures: [...document.querySelectorAll('img')].map((picture) => picture.src),
  handlers: [...document.querySelectorAll('*')].flatMap((element) =>
    [...element.attributes].filter((attribute) => /^on/i.test(attribute.name)).map((attribute) => attribute.name)),
  schemes: [...new Set([...document.querySelectorAll('a[href], [*|href]')].map((link) =>
    new URL(link.getAttribute('href') ?? link.getAttributeNS('http://www.w3.org/1999/xlink', 'href') ?? '',
      location.href).protocol))],
  opens: [...document.querySelectorAll('a[target=_blank]')].filter((link) => !/noopener/.test(link.rel)).length,
  address: location.href,
})"""


@pytest.fixture
def ask(visit):
    """Asks a question and waits for the end of the answer."""

    def asked(question: str, **fields):
        page = visit("/", **fields)
        box = page.get_by_role("textbox", name="Ask something")
        box.fill(question)
        box.press("Enter")
        page.locator("article.answer[aria-busy=false]").wait_for()
        return page

    return asked


def look(page, site) -> None:
    found = page.evaluate(FOUND)
    assert found["owned"] is None
    assert found["bad"] == []
    assert set(found["sheets"]) == {site.origin}
    assert found["handlers"] == []
    assert found["opens"] == 0
    assert set(found["schemes"]) <= {"http:", "https:", "mailto:"}, found["schemes"]
    assert all(picture.startswith(f"{site.origin}/") for picture in found["pictures"]), found["pictures"]
    assert found["address"].startswith(f"{site.origin}/c/")
    assert page.locator("#root").count() == 1


def test_hostile_words_run_nothing_and_load_nothing(ask, site, watched):
    """In the question, the thought, the answer, the title, queries and sources; while it streams, and read again."""
    question = site.actor.plays(
        HOSTILE[1],
        *(think(f"{words}\n\n") for words in HOSTILE),
        search("<img src=x onerror=window.owned=18>", *SOURCES, problem="<script>window.owned=19</script>"),
        *(answer(f"{words}\n\n") for words in HOSTILE),
    )
    page = ask(question)
    look(page, site)
    page.get_by_role("button", name="Thought").first.click()
    page.locator(".step").first.wait_for()
    look(page, site)
    for number in (1, 2, 3):
        page.locator(".source").nth(number - 1).click()
        page.locator("#source-title").wait_for()
        look(page, site)
        page.keyboard.press("Escape")
    page.request.patch(f"/app/conversations/{page.url.rpartition('/')[2]}", data={"title": HOSTILE[1]})
    page.reload()
    page.locator("article.answer[aria-busy=false]").wait_for()
    page.get_by_role("link", name=HOSTILE[1]).wait_for()
    look(page, site)


def test_a_link_says_where_it_leads_and_opens_beside(ask, site):
    question = site.actor.plays("A link", answer(f"[click me]({ELSEWHERE}/followed)"))
    link = ask(question).locator("article.answer a", has_text="click me")
    assert link.get_attribute("href") == f"{ELSEWHERE}/followed"
    assert link.get_attribute("target") == "_blank"
    assert "noreferrer" in link.get_attribute("rel")


def test_the_policy_stops_what_would_get_past_the_page(visit, watched, site):
    """The second wall: even a script that ran could not send anything away, nor could a picture."""
    watched.expected += ["Content Security Policy", "violates the following", "Failed to fetch", "Refused"]
    page = visit("/")
    outcome = page.evaluate(
        """async (elsewhere) => {
          const blocked = [];
          addEventListener('securitypolicyviolation', (event) => blocked.push(event.effectiveDirective));
          const add = (name, fields) => document.body.append(Object.assign(document.createElement(name), fields));
          add('script', { textContent: 'window.owned = 1' });
          add('script', { src: `${elsewhere}/a.js` });
          add('style', { textContent: 'body { color: red }' });
          add('img', { src: `${elsewhere}/a.png` });
          add('img', { src: 'data:image/png;base64,AAAA' });
          add('iframe', { src: elsewhere });
          add('div', { innerHTML: '<p style="color: red" onclick="window.owned = 2">x</p>' });
          await fetch(`${elsewhere}/x`).catch(() => null);
          navigator.sendBeacon?.(`${elsewhere}/b`);
          try { new Worker(`${elsewhere}/w.js`); } catch { }
          await new Promise((resolve) => setTimeout(resolve, 300));
          return { owned: window.owned ?? null, blocked: [...new Set(blocked)].sort() };
        }""",
        ELSEWHERE,
    )
    watched.foreign.clear()  # they were tried, and the policy stopped them: what it reports is below
    assert outcome["owned"] is None
    expected = {
        "script-src-elem",
        "style-src-elem",
        "style-src-attr",
        "img-src",
        "frame-src",
        "connect-src",
        "script-src-attr",
    }
    assert expected <= set(outcome["blocked"]), json.dumps(outcome)
