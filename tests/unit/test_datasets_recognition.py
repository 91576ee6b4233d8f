from pathlib import Path

import orjson
import pytest

from pipeline.datasets import templates
from pipeline.datasets.discovery import Product
from pipeline.datasets.errors import InvalidProduct, InvalidRules, NotRecognised
from pipeline.datasets.recognition import Recognition, recognise
from pipeline.datasets.rules import load, parse


def product(path: str = "/data/job/SAR-007", **dataset: object) -> Product:
    where = Path(path)
    described = {"version": "v2", **dataset}
    return Product(id=where.name, path=where, parts=(where.name,), dataset=described, met={"bands": ["a", "b"], "n": 3})


def rule(pattern: str = "/(?P<id>SAR-[0-9]+)$", **more: object) -> dict:
    return {"ipath": "mission::data/sar/raw", "match_pattern": pattern, **more}


def recognised(*rules: dict, entries: tuple[str, ...] = ()) -> Recognition:
    return recognise(product(), entries, parse({"datasets": list(rules)}), "host-1")


def test_the_first_matching_entry_of_the_file_wins() -> None:
    other = rule(level="second")
    assert recognised(rule("/OPT"), rule(level="first"), other).values["level"] == "first"


def test_named_groups_come_before_defaults() -> None:
    values = recognised(rule("/(?P<id>SAR-(?P<version>[0-9]+))$", level="L1", type="raw")).values
    assert (values["id"], values["version"], values["level"], values["type"]) == ("SAR-007", "007", "L1", "raw")
    assert recognised(rule()).version == "v2"


def test_the_dataset_is_named_by_what_follows_the_first_slash() -> None:
    assert recognised(rule()).rule.dataset == "sar/raw"


def test_the_alternative_pattern_has_to_match_an_entry_too() -> None:
    tiff = rule(alt_match_pattern=r"/(?P<band>\w+)\.tif$", level="tiff")
    assert recognised(tiff, rule(level="any")).values["level"] == "any"
    matched = recognised(tiff, rule(level="any"), entries=("notes.txt", "vv.tif"))
    assert (matched.values["level"], matched.values["band"]) == ("tiff", "vv")


def test_what_no_entry_matches_is_named() -> None:
    with pytest.raises(NotRecognised, match=r"SAR-007.*2 entries"):
        recognised(rule("/OPT"), rule("/RADAR"))


def test_a_path_too_long_for_a_pattern_is_refused() -> None:
    with pytest.raises(InvalidProduct, match="at most 4096"):
        recognise(product("/" + "a/" * 3000 + "SAR-1"), (), parse({"datasets": [rule()]}), "h")


def test_templates_look_up_groups_host_description_and_metadata() -> None:
    found = recognised(rule())
    text = "{id}/{version}/{hostname}/{dataset[version]}/{met[bands][1]}/{met[n]}/{{x}}"
    assert found.fill(text) == "SAR-007/v2/host-1/v2/b/3/{x}"


@pytest.mark.parametrize(
    "template",
    [
        "{id.__class__}",
        "{met.keys}",
        "{met[bands].__class__}",
        "{id!r}",
        "{id:>100}",
        "{}",
        "{0}",
        "{id[",
        "${id}",
        "{met[x{id}]}",
    ],
)
def test_a_template_can_do_nothing_but_look_up(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        templates.check(template)
        templates.fill(template, {"id": "x", "met": {"bands": []}})


@pytest.mark.parametrize("template", ["{nothing}", "{met[none]}", "{met[bands]}", "{met[bands][9]}", "{id[__class__]}"])
def test_what_a_product_lacks_is_said(template: str) -> None:
    with pytest.raises(InvalidProduct, match="SAR-007"):
        recognised(rule()).fill(template)


def test_a_filled_template_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        templates.fill("{id}{id}", {"id": "x" * 3000})


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"datasets": [{"ipath": "a/b"}]}, "match_pattern"),
        ({"datasets": [rule("(")]}, "regular expression"),
        ({"datasets": [rule(publish={"location": "x/${id}"})]}, "dollar"),
        ({"datasets": [rule(publish={"location": "{id.real}"})]}, "only"),
        ({"datasets": [rule(publish={"location": "{year}"})]}, "year"),
        ({"datasets": [rule("(?P<met>x)")]}, "can't be named met"),
        ({"datasets": [rule(ipath="nodataset")]}, "ipath"),
    ],
)
def test_rules_that_could_never_work_are_refused_when_they_are_read(broken: dict, said: str, tmp_path: Path) -> None:
    path = tmp_path / "datasets.json"
    path.write_bytes(orjson.dumps(broken))
    with pytest.raises(InvalidRules, match=said):
        load(path)


def test_missing_or_malformed_rules_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidRules, match=r"none\.json"):
        load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InvalidRules, match=r"bad\.json"):
        load(tmp_path / "bad.json")


def test_rules_of_object_stores_are_read_with_their_own_settings(tmp_path: Path) -> None:
    entry = rule(publish={"location": "s3://bucket/{id}", "urls": ["http://x/{id}"], "s3-profile-name": "p"})
    assert len(parse({"datasets": [entry]}).datasets) == 1
