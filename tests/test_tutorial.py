"""docs/your-own-task.md is typed, from its first box to its last, in an empty folder; only the time to train is cut."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "your-own-task.md"
MINUTES = "0.1"


def boxes() -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_tutorial_says_how_long_it_takes() -> None:
    """What the test shortens is there to be shortened, and what is promised is what is asked for."""
    minutes = re.findall(r"--minutes (\d+)", "".join(boxes()))
    assert minutes
    assert sum(map(int, minutes)) <= 10


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a POSIX shell")
def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("RANK", None)
    said = ""
    for box in boxes():
        script = re.sub(r"--minutes \d+", f"--minutes {MINUTES}", box)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        said += done.stdout + done.stderr
        assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "All is well." in said
    assert (tmp_path / "runs" / "clock" / "model" / "config.json").is_file()
    assert "| before | 0.000 |" in (tmp_path / "runs" / "clock" / "report.md").read_text(encoding="utf-8")
