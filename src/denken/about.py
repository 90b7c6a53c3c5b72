"""What a model says of itself, in `about.json` of its folder: how it looks things up, and what it is good at.

The file is the folder's maker's word and may come from anywhere: it is read within bounds, and shown as text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from denken.errors import CheckpointError

FILE = "about.json"
MAX_BYTES = 64 * 1024

Line = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Language = Literal["en", "de"]


class About(BaseModel):
    """What there is to know of a model before it is asked.

    searches: "inside" the thought, as it was trained to (`<search>`), or "before" it, as any model can.
    thinks: "always" where it gives nothing of use without a thought.
    chats_freely: whether it can be asked anything; a small model that cannot says in `summary` what it can.
    examples: by language, questions that it is good at.

    >>> About(examples={"de": ["Was ist 17 mal 23?"]}).examples["de"]
    ['Was ist 17 mal 23?']
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    searches: Literal["inside", "before"] = "before"
    thinks: Literal["always", "optional"] = "optional"
    chats_freely: bool = True
    summary: dict[Language, Line] = {}
    examples: dict[Language, Annotated[list[Line], Field(max_length=12)]] = {}


def read_about(folder: Path) -> About:
    """What a folder says; the defaults where it says nothing. Raises CheckpointError for what cannot be read."""
    file = folder / FILE
    if not file.is_file():
        return About()
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise CheckpointError(f"{file} is larger than {MAX_BYTES} bytes; shorten it or take it away.")
        return About.model_validate_json(text)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); make it readable or take it away.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:120] or "the whole"
        raise CheckpointError(f"{file}: {place}: {first['msg']}; mend it or take it away.") from error
