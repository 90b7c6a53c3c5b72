"""Where code begins and ends in Markdown that streams."""

from __future__ import annotations

import pytest

from denken.chat.codespans import CodeSpans


@pytest.mark.parametrize(
    "text",  # capital letters lie in code, small ones do not
    [
        "a `B`c d",
        "a ``B`C`` d",
        "a ` BC\nd",
        "```\nX\n```\ny",
        "```PY\nX\n``\nY\n````\nz",
        "```\nX\n``` Y\nZ\n```\nw",
        "```\nX\n```  \nw",
        "~~~\n```\nX\n~~~\ny",
        "a ~~~ b\nc",
        "```X``` y\nz",
        "   ```\nX",
        "    ```X```\ny",
        "a ```\nb",
        "```\nX\n    ```\nY",
        "",
    ],
)
def test_places(text: str) -> None:
    for place, character in enumerate(text):
        if character.isalpha():
            whole = CodeSpans()
            whole.feed(text[:place])
            piecewise = CodeSpans()
            for before in text[:place]:
                piecewise.feed(before)
                piecewise.feed("")
            assert whole.inside() == piecewise.inside() == character.isupper(), text[:place]
