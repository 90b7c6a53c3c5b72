"""The app without its server: it opens, says what needs the server, and is never older than the server's."""

from __future__ import annotations

import json
import re

import pytest

from denken.serve import website

STRIP = ".offline"


@pytest.fixture
def ready(visit, watched):
    """Opens a page and waits until the service worker has it in its hands."""

    def open_page(path: str = "/", **fields):
        page = visit(path, service_workers="allow", **fields)
        page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        return page

    return open_page


def test_the_shell_opens_without_a_network_and_comes_back_by_itself(ready, watched):
    watched.expected += ["ERR_INTERNET_DISCONNECTED"]
    page = ready("/", device="phone")
    page.context.set_offline(True)
    for path in ("/c/abc", "/library", "/"):
        page.goto(path)
        page.locator(STRIP).wait_for()
    page.context.set_offline(False)
    page.locator(STRIP).wait_for(state="hidden")


def test_a_server_that_is_gone_is_asked_for_again(visit, watched):
    watched.expected += ["ERR_FAILED"]
    page = visit("/")
    box = page.get_by_role("textbox", name="Ask something")
    box.fill("Are you there?")
    page.wait_for_load_state("networkidle")
    gone = re.compile("/(app|v1|health)")
    page.route(gone, lambda route: route.abort())
    box.press("Enter")
    page.locator(STRIP).wait_for()
    with page.expect_request("**/health"):
        page.locator(STRIP).get_by_role("button", name="Try again").click()
    page.unroute(gone)
    page.locator(STRIP).wait_for(state="hidden")


def test_nothing_that_was_said_is_kept(ready):
    page = ready()
    page.evaluate("() => fetch('/app/state').then((response) => response.text())")
    page.evaluate("() => fetch('/v1/models').then((response) => response.text())")
    kept = page.evaluate(
        """async () => {
          const found = [];
          for (const name of await caches.keys())
            for (const request of await (await caches.open(name)).keys()) found.push(new URL(request.url).pathname);
          return found;
        }"""
    )
    shell = [f"/{path}" for path in website.parts() if path.endswith((".js", ".css", ".svg", ".woff2", ".webmanifest"))]
    assert set(kept) == {"/", *shell} - {"/sw.js"}


def test_a_new_version_replaces_the_old_one(ready, site, monkeypatch):
    page = ready()
    (before,) = page.evaluate("() => caches.keys()")
    parts = dict(website.parts())
    worker = parts["sw.js"].content.replace(before.encode(), b"denken-shell-next")
    index = parts["index.html"].content.replace(b"<html", b"<html data-newer")
    for name, content in (("sw.js", worker), ("index.html", index)):
        parts[name] = website.Part(content, parts[name].media_type, True, website.ASK_AGAIN)
    monkeypatch.setattr(website, "parts", lambda: parts)
    # The page is the newer one at the first visit already, not only at the second.
    page.goto("/usage")
    assert page.evaluate("() => 'newer' in document.documentElement.dataset")
    page.evaluate("() => navigator.serviceWorker.getRegistration().then((one) => one.update())")
    page.wait_for_function("() => caches.keys().then((names) => names.join() === 'denken-shell-next')")


def test_it_can_be_installed(ready):
    page = ready()
    devtools = page.context.new_cdp_session(page)
    assert devtools.send("Page.getAppManifest")["errors"] == []
    problems = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [problem["errorId"] for problem in problems if problem["errorId"] != "in-incognito"] == []
    manifest = json.loads(website.parts()["manifest.webmanifest"].content)
    for icon in manifest["icons"]:
        assert page.request.get(icon["src"]).headers["content-type"] == icon["type"]
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}


def test_over_plain_http_elsewhere_the_page_works_without_a_worker(browser, site):
    """As a phone sees `denken serve --lan`: no secure context, so no worker, no clipboard and no random identifiers."""
    context = browser.new_context()
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://box.home:{site.port}/")
    assert page.evaluate("() => isSecureContext") is False
    page.get_by_role("textbox").last.wait_for()
    assert errors == []
    context.close()
