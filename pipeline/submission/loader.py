"""Finding job creators' functions: by entry point, or in the one directory that the operator allows.

A function's name comes from the operator's configuration only, never from a message, and nothing is evaluated.
"""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.submission.errors import CreatorsError

ENTRY_POINTS = "jobstream.creators"
#: Functions that are remembered.
_CACHED = 32

Loaded = tuple[Callable[..., Any], bool]


class Loader:
    """Loads functions, each once; `directory` is where dotted names are looked up, None allows entry points alone."""

    def __init__(self, directory: Path | None) -> None:
        self._root = None if directory is None else directory.resolve()
        self.load: Callable[[str], Loaded] = lru_cache(maxsize=_CACHED)(self._load)

    def _load(self, name: str) -> Loaded:
        """Return the function, and whether it is to be called with the job type too.

        Raises CreatorsError where it can't be found, lies outside the directory, or its module fails.
        """
        function = _of_entry_point(name) or self._of_directory(name)
        if not callable(function):
            raise CreatorsError(f"job creator {name}: not a function")
        return function, _takes_type(function)

    def _of_directory(self, name: str) -> Any:
        if self._root is None:
            raise CreatorsError(f"job creator {name}: no such entry point in {ENTRY_POINTS}, and no creators directory")
        *modules, attribute = name.split(".")
        if not modules or not all(part.isidentifier() for part in (*modules, attribute)):
            raise CreatorsError(f"job creator {name}: not of the form module.function")
        path = self._root.joinpath(*modules).with_suffix(".py")
        if not path.resolve().is_relative_to(self._root):
            raise CreatorsError(f"job creator {name}: {path} leads out of the creators directory")
        if not path.is_file():
            raise CreatorsError(f"job creator {name}: there is no {path}")
        try:
            module = importlib.import_module(".".join((self._package(), *modules)))
            return getattr(module, attribute)
        except AttributeError as error:
            raise CreatorsError(f"job creator {name}: {path} has no {attribute}") from error
        except Exception as error:
            raise CreatorsError(f"job creator {name}: {type(error).__name__}: {error}") from error

    def _package(self) -> str:
        """Return the package that the directory is, so that its modules can't be taken for anybody else's."""
        root = str(self._root)
        name = f"_jobstream_creators_{hashlib.sha256(root.encode()).hexdigest()[:12]}"
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [root]
            sys.modules[name] = package
        return name


def _of_entry_point(name: str) -> Any:
    for found in entry_points(group=ENTRY_POINTS, name=name):
        try:
            return found.load()
        except Exception as error:
            raise CreatorsError(f"job creator {name}: {type(error).__name__}: {error}") from error
    return None


def _takes_type(function: Callable[..., Any]) -> bool:
    names = list(inspect.signature(function).parameters)
    return len(names) > 1 and "job_type" in names
