"""Whether a place in streaming Markdown lies inside code, so that a tag quoted there stays text.

Follows CommonMark for fences (three or more backticks or tildes at the start of a line, closed by as many) and for
inline code (a run of backticks, closed by an equal run), with one difference that streaming forces: inline code ends
with its line, because nobody can know yet whether an equal run will ever come. Indented code is not covered.
"""

from __future__ import annotations


class CodeSpans:
    """Fed with text piece by piece; `inside()` answers for the place after the last character fed."""

    def __init__(self) -> None:
        self._fence = ""  # the run that opened the fence we are in
        self._info = False  # still on the line that opened it
        self._closing = False  # a run on this line closes it, if only blanks follow
        self._ticks = 0  # length of the run that opened the inline code we are in
        self._run = ""  # backticks or tildes whose run may go on
        self._run_starts_line = False
        self._indent = 0  # blanks since the line began; -1 once anything else stood in it

    def feed(self, text: str) -> None:
        """Read on."""
        for character in text:
            if character in "`~":
                if character != self._run[:1]:
                    self._end_run()
                    self._run_starts_line = 0 <= self._indent <= 3
                self._run += character
                self._indent = -1
                continue
            self._end_run()
            if character == "\n":
                self._end_line()
            elif character == " " and self._indent >= 0:
                self._indent += 1
            else:
                self._indent = -1
                self._closing = self._closing and character.isspace()

    def inside(self) -> bool:
        """Whether a character that is neither backtick nor tilde would stand in code here."""
        self._end_run()
        return bool(self._fence) or self._ticks > 0

    def _end_run(self) -> None:
        run, self._run = self._run, ""
        if not run:
            return
        if self._info and "`" in run and self._fence[0] == "`":
            # ```like this``` on one line is inline code, not a fence
            self._ticks, self._fence, self._info = len(self._fence), "", False
        if self._fence:
            self._closing = self._run_starts_line and run[0] == self._fence[0] and len(run) >= len(self._fence)
        elif self._ticks:
            self._ticks = 0 if run == "`" * self._ticks else self._ticks
        elif self._run_starts_line and len(run) >= 3:
            self._fence, self._info = run, True
        elif run[0] == "`":
            self._ticks = len(run)

    def _end_line(self) -> None:
        if self._closing:
            self._fence = ""
        self._closing = self._info = False
        self._ticks = self._indent = 0
