"""Which dataset a product is: the first rule that matches it (spec §4.3)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.datasets import templates
from pipeline.datasets.discovery import Product
from pipeline.datasets.errors import InvalidProduct, NotRecognised
from pipeline.datasets.rules import Rule, Rules

#: characters of a path that a pattern is searched in: the longest path that Linux takes
MAX_PATH = 4096


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """A product with its rule and the values that templates are filled from."""

    product: Product
    rule: Rule
    values: dict[str, Any]

    @property
    def version(self) -> str:
        """The system version: a group of the pattern, else what the product itself says."""
        return str(self.values["version"])

    def fill(self, template: str, **more: str) -> str:
        """Fill one of the rule's templates. Raises InvalidProduct where the product lacks what it names."""
        try:
            return templates.fill(template, {**self.values, **more})
        except ValueError as error:
            raise InvalidProduct(f"{self.product.id}: {error}") from error


def recognise(product: Product, entries: Iterable[str], rules: Rules, hostname: str) -> Recognition:
    """Find a product's rule. `entries` are the names directly inside it, for `alt_match_pattern`.

    A rule's alternative pattern has to match too, the path or one entry's path, or the next rule is tried.
    Raises NotRecognised if none matches, InvalidProduct for a path over MAX_PATH characters.
    """
    path = str(product.path.parent / product.id)
    if len(path) > MAX_PATH:
        raise InvalidProduct(f"{path[:100]}...: path of {len(path)} characters; at most {MAX_PATH} are matched")
    inside = [f"{path}/{name}" for name in entries]
    for rule in rules.datasets:
        groups = _groups(rule, path, inside)
        if groups is not None:
            return Recognition(product=product, rule=rule, values=_values(product, rule, groups, hostname))
    raise NotRecognised(
        f"product {product.id}: none of the {len(rules.datasets)} entries of datasets.json matches {path}"
    )


def _groups(rule: Rule, path: str, inside: list[str]) -> dict[str, str] | None:
    match = re.search(rule.match_pattern, path)
    if match is None:
        return None
    groups = {name: text for name, text in match.groupdict().items() if text is not None}
    if rule.alt_match_pattern is None:
        return groups
    pattern = re.compile(rule.alt_match_pattern)
    for candidate in (path, *(text for text in inside if len(text) <= MAX_PATH)):
        other = pattern.search(candidate)
        if other is not None:
            return groups | {name: text for name, text in other.groupdict().items() if text is not None}
    return None


def _values(product: Product, rule: Rule, groups: dict[str, str], hostname: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "id": product.id,
        "version": product.dataset["version"],
        "level": rule.level or "",
        "type": rule.type or "",
    }
    fixed = {"hostname": hostname, "dataset": product.dataset, "met": product.met or {}}
    return defaults | groups | fixed
