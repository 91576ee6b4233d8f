"""What goes wrong, as one line on standard error and an exit code."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from ops.cli import exits


class CliError(Exception):
    """A failure that the operator can do something about."""

    def __init__(self, message: str, code: int = exits.FAILED) -> None:
        super().__init__(message)
        self.code = code


class Commands(TyperGroup):
    """Commands whose expected errors end in a line and an exit code; others are bugs, and show where."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(exits.INTERRUPTED) from None
        except Exception as error:
            known = explained(error)
            if known is None:
                raise
            say(f"jobstream: {known}")
            raise typer.Exit(known.code) from None


def say(line: str) -> None:
    """Write a line for the reader beside the output."""
    sys.stdout.flush()
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def explained(error: Exception) -> CliError | None:
    """Return an expected error with what to do about it, None for any other."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, BrokenPipeError):
        # whoever read the output has enough: click ends quietly
        return None
    # by name: to import them all would cost every command its start-up time
    names = {kind.__name__ for kind in type(error).__mro__}
    text = _text(error)
    if "SettingsError" in names or ("ValidationError" in names and "pydantic" in type(error).__module__):
        return CliError(f"settings: {_fields(error)}", exits.USAGE)
    if names & {"TooLargeError", "HistoryError", "WrongTopicError", "StoreError"}:
        return CliError(text, exits.USAGE)
    if "IndexUnavailableError" in names:
        return CliError(f"{text}: `jobstream status` says whether it runs", exits.UNREACHABLE)
    if "KafkaException" in names:
        return CliError(f"Kafka: {text}", exits.UNREACHABLE)
    if names & {"ClusterError", "TopicError", "UnsafeError"}:
        return CliError(text, exits.FAILED)
    if names & {"EmbeddedError", "DeliveryError", "OutputError", "BrokerError", "ConnectionError"}:
        return CliError(text, exits.UNREACHABLE)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return CliError(f"{error.filename}: {error.strerror}", exits.USAGE)
    if isinstance(error, OSError):
        return CliError(text, exits.UNREACHABLE)
    return None


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else None
    if first is not None and hasattr(first, "str"):
        return str(first.str())
    return str(error) or type(error).__name__


def _fields(error: Exception) -> str:
    """Return which settings are wrong and why, on one line."""
    if not hasattr(error, "errors"):
        return _text(error)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
