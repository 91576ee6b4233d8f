import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.holding.results import RESULT_LIMIT, as_json, by_reference


def test_a_result_that_fits_is_left_alone() -> None:
    result = {"error": "x" * 1000, "job_info": {"status": 1}, "products": [{"id": "a"}]}
    assert json.loads(as_json(result)) == result


def test_a_long_text_is_cut_and_what_was_cut_is_said() -> None:
    result = json.loads(as_json({"traceback": "x" * 400_000, "job_info": {"status": 1}}))
    assert result["job_info"]["status"] == 1
    assert result["job_info"]["cut"] == ["traceback: 65536 of 400000 characters"]


def test_many_products_are_cut_to_as_many_as_fit() -> None:
    result = json.loads(as_json({"products": [{"id": f"p{n}", "text": "x" * 400} for n in range(5000)]}))
    assert 0 < len(result["products"]) < 5000
    assert any(cut.startswith("products:") and "of 5000 items" in cut for cut in result["job_info"]["cut"])


def test_what_nothing_makes_fit_keeps_its_error() -> None:
    wide = {f"field {n}": {f"inner {m}": ["x" * 300] * 20 for m in range(20)} for n in range(40)}
    result = json.loads(as_json({"error": "broken", **wide}, limit=3000))
    assert result["error"] == "broken"
    assert result["job_info"]["cut"]


def test_odd_values_become_text() -> None:
    odd = {"path": Path("/x"), "surrogate": "\udc80", "big": 2**70, "nan": math.nan, 3: {1, 2}}
    result = json.loads(as_json(odd))
    assert result["path"] == "/x"
    assert result["surrogate"] == "?"


def test_deep_nesting_does_not_raise() -> None:
    deep: dict = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert json.loads(as_json({"error": "e", "deep": deep}))["error"] == "e"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=30), inner, max_size=8),
    max_leaves=60,
)


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=12), st.sampled_from([600, 4000, RESULT_LIMIT]))
def test_any_result_becomes_json_within_the_limit(result: dict, limit: int) -> None:
    text = as_json(result, limit)
    assert len(text.encode()) <= max(limit, 4096)
    assert isinstance(json.loads(text), dict)


def test_datasets_that_do_not_fit_are_referred_to_and_others_stay() -> None:
    places = {"0": (4, 9)}
    small = {"products": [{"id": "T"}], "job_info": {}}
    assert by_reference(small, places) is small
    large = {"products": [{"id": f"T-{n}", "metadata": "x" * 1000} for n in range(400)], "job_info": {"status": 0}}
    told = json.loads(as_json(by_reference(large, places)))
    assert told == {"job_info": {"status": 0}, "products_at": {"count": 400, "places": {"0": [4, 9]}}}
    assert by_reference(large, {}) is large
