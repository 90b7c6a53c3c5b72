"""Errors whose text says what to do next.

Each is also a standard-library type, so callers that know nothing of denken catch it by what it means.
They are raised once, at the edge where bad input enters; inside the house types are trusted.
"""


def quoted(value: object) -> str:
    """A value of somebody else's as an error shows it: whole where it is short.

    >>> quoted("llama")
    "'llama'"
    """
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


class DenkenError(Exception):
    """Any error that denken raises on purpose; its text is fit to show to a person."""


class ConfigError(DenkenError, ValueError):
    """A recipe, setting or model configuration cannot be used as given."""


class CheckpointError(DenkenError, ValueError):
    """A file of weights, a tokenizer or a training state is damaged, incomplete or of an unknown kind."""


class RequestError(DenkenError, ValueError):
    """A request to generate cannot be served as asked (too long, out of range, not supported)."""


class UnknownNameError(DenkenError, LookupError):
    """A model, task or recipe of that name does not exist; the text names the nearest match."""


class VerifierTimeout(DenkenError, TimeoutError):
    """A verifier's process was killed because it outlived its time or its memory."""
