"""Draws the app's icons from public/icon.svg with Chromium; run it where that picture has changed.

python web/icons.py        writes public/*.png
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

PUBLIC = Path(__file__).parent / "public"
# name -> size in pixels, share of it that the picture takes, background: phones cut a maskable icon to a shape of
# theirs and leave its middle 80 %, and iOS puts black behind what is transparent.
ICONS = {
    "icon-192.png": (192, 1.0, "transparent"),
    "icon-512.png": (512, 1.0, "transparent"),
    "icon-maskable-512.png": (512, 0.6, "#f6f7f9"),
    "apple-touch-icon.png": (180, 0.8, "#f6f7f9"),
}


def main() -> None:
    picture = (PUBLIC / "icon.svg").read_text(encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (size, share, background) in ICONS.items():
            page = browser.new_page(viewport={"width": size, "height": size})
            page.set_content(
                f"<style>body {{ margin: 0; height: 100vh; display: grid; place-items: center; "
                f"background: {background} }} svg {{ width: {share * 100}vw }}</style>{picture}"
            )
            page.screenshot(path=PUBLIC / name, omit_background=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
