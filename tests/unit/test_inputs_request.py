"""What a job may ask for, and where it goes."""

from pathlib import Path

import pytest

from pipeline.inputs.errors import RefusedError
from pipeline.inputs.policy import Policy
from pipeline.inputs.request import Input, inputs_of, target


def test_inputs_are_texts_or_objects_with_a_url() -> None:
    entries = ["s3://b/k", {"url": "http://h/x", "local_path": "in/", "cache": False}, {"url": "/d/x", "other": 1}]
    assert inputs_of({"localize_urls": entries}) == [
        Input("s3://b/k"),
        Input("http://h/x", "in/", False),
        Input("/d/x"),
    ]
    assert inputs_of({}) == inputs_of({"localize_urls": None}) == []


@pytest.mark.parametrize(
    "entries",
    [
        5,
        "http://h/x",
        [{}],
        [{"url": 5}],
        [{"url": " "}],
        [{"url": "u", "cache": "no"}],
        [{"url": "u", "local_path": 1}],
    ],
)
def test_a_malformed_list_is_refused(entries: object) -> None:
    with pytest.raises(RefusedError):
        inputs_of({"localize_urls": entries})


@pytest.mark.parametrize(
    ("url", "path", "where"),
    [
        ("http://h/a/x.nc?y=1", None, "x.nc"),
        ("http://h/a/x%20y.nc", None, "x y.nc"),
        ("http://h/a/..%2F..%2Fx", None, "..%2F..%2Fx"),
        ("http://h/x", "y", "y"),
        ("http://h/x", "in/", "in/x"),
        ("http://h/x", "there", "there/x"),
        ("http://h/x", "a/b/c", "a/b/c"),
        ("s3://b/some/prefix/", None, "prefix"),
        ("s3://b/k?v#1", None, "k?v#1"),
        ("http://h/?download=5", "y", "y"),
        ("file:///a/x%20%2541", None, "x %41"),
        ("/a/x%20y", None, "x%20y"),
    ],
)
def test_an_input_goes_where_it_should(tmp_path: Path, url: str, path: str | None, where: str) -> None:
    (tmp_path / "there").mkdir()
    assert target(Input(url, path), tmp_path) == tmp_path / where


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/x", "/etc/passwd"),
        ("http://h/x", "../x"),
        ("http://h/x", "a/../../x"),
        ("http://h/", None),
        ("http://h", None),
        ("http://h/%2e%2e", None),
        ("file:///a/%2e%2e", None),
        ("file:///a/..%2Fx", None),
        ("http://h/_job.json", None),
        ("http://h/x", "_context.json"),
        ("http://h/x", ".done"),
        ("http://h/x", "link/x"),
        ("http://h/x", "a\0b"),
        ("http://h/" + "x" * 300, None),
    ],
)
def test_no_input_goes_elsewhere(tmp_path: Path, url: str, path: str | None) -> None:
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(RefusedError):
        target(Input(url, path), tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/x",
        "http://[fe80::1%25eth0]/x",
        "ftp://127.0.0.1/x",
        "gopher://host/x",
        "http:///x",
        "memory://x/y",
        "http://[bad/x",
    ],
)
def test_what_only_the_worker_may_see_is_refused(url: str) -> None:
    with pytest.raises(RefusedError):
        Policy().check(Input(url))


def test_hosts_can_be_limited_and_named() -> None:
    policy = Policy(hosts=("*.data.example", "my-bucket", "127.0.0.1"))
    for url in ("https://a.data.example/x", "s3://my-bucket/x", "http://127.0.0.1:1/x"):
        policy.check(Input(url))
    for url in ("https://data.example.evil/x", "s3://other/x", "http://127.0.0.2/x"):
        with pytest.raises(RefusedError):
            policy.check(Input(url))


def test_local_files_come_from_allowed_folders_only_wherever_links_lead(tmp_path: Path) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    allowed.mkdir()
    other.mkdir()
    (allowed / "a b").write_text("x")
    (other / "secret").write_text("x")
    (allowed / "link").symlink_to(other / "secret")
    (allowed / "loop").symlink_to(allowed / "loop")
    policy = Policy(roots=(allowed,))
    for url in (f"{allowed}/a b", f"file://{allowed}/a%20b", f"file://localhost{allowed}/a%20b"):
        policy.check(Input(url))
    refused = (f"{allowed}/link", f"{allowed}/../other/secret", str(other / "secret"), f"{allowed}/absent", "a b")
    odd = (f"file://elsewhere{allowed}/a%20b", f"file://{allowed}/a%20b?", "file://[/a", "file://", f"{allowed}/loop")
    for url in (*refused, *odd, f"{other}/absent", "/a\0b"):
        with pytest.raises(RefusedError):
            policy.check(Input(url))


def test_whether_a_forbidden_file_exists_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    said = []
    for name in ("there", "gone"):
        with pytest.raises(RefusedError) as raised:
            Policy().check(Input(str(tmp_path / name)))
        said.append(str(raised.value).replace(name, ""))
    assert said[0] == said[1]
