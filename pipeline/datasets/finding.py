"""Products with what is to be known before they are staged: their rule, their metadata."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.datasets.discovery import MAX_MET_JSON, Product, discover
from pipeline.datasets.extractors import Extractors, metadata
from pipeline.datasets.recognition import Recognition, recognise
from pipeline.datasets.rules import Rules
from pipeline.datasets.tree import JobTree

#: What a job may put over the extractor's metadata; it is not published itself.
SEED = "met.json"


def find(
    tree: JobTree, rules: Rules, hostname: str, extractors: Extractors, check: Callable[[], None], notes: list[str]
) -> list[Recognition]:
    """Discover and recognise all products, and run the extractor of those that have one and no metadata.

    `notes` gets a sentence for what only looks like a product. Raises as `discover`, `recognise` and `Extractors`.
    """
    found = discover(tree)
    notes.extend(found.skipped)
    return [_complete(tree, product, rules, hostname, extractors, check) for product in found.products]


def _complete(
    tree: JobTree, product: Product, rules: Rules, hostname: str, extractors: Extractors, check: Callable[[], None]
) -> Recognition:
    entries = tree.entries(product.parts)
    recognition = recognise(product, entries, rules, hostname)
    extractor = recognition.rule.extractor
    if extractor is None or product.met is not None:
        return recognition
    seed = tree.read_json((*product.parts, SEED), MAX_MET_JSON) if SEED in entries else {}
    met = metadata(extractors.run(extractor, product.path, check), product.id, seed)
    return replace(
        recognition, product=replace(product, met=met, extracted=True), values={**recognition.values, "met": met}
    )
