"""What a hysds-io `lambda` does to a value: read, never evaluated (spec §2.2; §13 says what that could do).

A lambda is one parameter and an expression of that parameter, keys and numbers in brackets, constants, lists, and calls
of the functions below: `lambda ds: get_best_url(ds['urls'])`. Anything else is refused when the type is registered.
"""

import ast
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Makes a value of a value; raises TransformError.
Transform = Callable[[Any], Any]

_SHAPE = "lambda NAME: an expression of NAME, [key], constants, lists and calls of "


class TransformError(ValueError):
    """A lambda can't be used, or not on this value; the text says why."""


def get_best_url(urls: Sequence[str], best_prefix: str | None = None) -> str | None:
    """Return the first URL with the prefix; else the first that isn't http, else the first."""
    if best_prefix is not None:
        for url in urls:
            if url.startswith(best_prefix):
                return url
    return next((url for url in urls if not url.startswith("http")), urls[0] if urls else None)


def get_partial_products(ident: str, base_url: str, paths: Sequence[str]) -> list[dict[str, str]]:
    """Return inputs for some files of a product: each its URL, and its path below the product's id."""
    return [{"url": posixpath.join(base_url, path), "local_path": posixpath.join(ident, path)} for path in paths]


def region_to_bbox(region: Mapping[str, Any]) -> list[float]:
    """Return [least latitude, greatest, least longitude, greatest] of a GeoJSON polygon."""
    points = [point for ring in region["coordinates"] for point in ring]
    latitudes, longitudes = [point[1] for point in points], [point[0] for point in points]
    return [min(latitudes), max(latitudes), min(longitudes), max(longitudes)]


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "get_best_url": get_best_url,
    "get_partial_products": get_partial_products,
    "region_to_bbox": region_to_bbox,
    "int": int,
    "float": float,
    "str": str,
}


def transform(text: str) -> Transform:
    """Return what a lambda does; raises TransformError for one that is more than the module's head allows."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refused() from None
    if not isinstance(tree, ast.Lambda):
        raise _refused()
    given = tree.args
    extra = given.posonlyargs or given.kwonlyargs or given.vararg or given.kwarg or given.defaults
    if extra or len(given.args) != 1:
        raise _refused()
    made = _made(tree.body, given.args[0].arg)

    def apply(value: Any) -> Any:
        try:
            return made(value)
        except Exception as error:
            raise TransformError(f"{type(error).__name__}: {error}"[:300]) from error

    return apply


def _refused(what: str = "") -> TransformError:
    return TransformError(f"{what or 'no such expression'}; it can be {_SHAPE}{', '.join(_FUNCTIONS)}")


def _made(node: ast.expr, name: str) -> Transform:
    """Return the function that an expression is, of the one value that it has."""
    match node:
        case ast.Name(id=used) if used == name:
            return lambda value: value
        case ast.Constant(value=str() | int() | float() | bool() | None as constant):
            return lambda _: constant
        case ast.List(elts=items):
            parts = [_made(item, name) for item in items]
            return lambda value: [part(value) for part in parts]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as constant)):
            negative = -constant
            return lambda _: negative
        case ast.Subscript(value=whole, slice=inner):
            outer, key = _made(whole, name), _made(inner, name)
            return lambda value: outer(value)[key(value)]
        case ast.Call(func=ast.Name(id=called), args=arguments, keywords=named) if called in _FUNCTIONS:
            return _call(_FUNCTIONS[called], arguments, named, name)
        case _:
            raise _refused(f"{type(node).__name__} isn't allowed")


def _call(function: Callable[..., Any], arguments: list[ast.expr], named: list[ast.keyword], name: str) -> Transform:
    if any(one.arg is None for one in named):
        raise _refused("** isn't allowed")
    parts = [_made(argument, name) for argument in arguments]
    keywords = {str(one.arg): _made(one.value, name) for one in named}
    return lambda value: function(
        *(part(value) for part in parts), **{key: part(value) for key, part in keywords.items()}
    )
