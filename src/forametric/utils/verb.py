"""The command that is running, which outputs and locks name."""

from contextvars import ContextVar

verb: ContextVar[str] = ContextVar("verb", default="python")


def running_verb() -> str:
    """The verb of the command line, or "python"."""
    return verb.get()
