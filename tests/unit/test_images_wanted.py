from typing import Any

import pytest

from pipeline.images.errors import ImageError
from pipeline.images.wanted import Wanted, reference

DIGEST = "ab" * 32


def of(machine: str = "x86_64", **fields: Any) -> Wanted:
    return Wanted.of({"container_image_name": "x:1", **fields}, machine)


def test_an_image_without_a_url_is_one_that_the_engine_has() -> None:
    assert of() == of(container_image_url="", container_image_urls={}) == Wanted("x:1")


@pytest.mark.parametrize("urls", [{"x86_64": "http://a/x", "aarch64": "http://a/a"}, '{"x86_64": "http://a/x"}'])
def test_the_url_of_the_machine_goes_before_the_other(urls: Any) -> None:
    assert of(container_image_urls=urls, container_image_url="http://b").url == "http://a/x"


def test_a_machine_without_a_url_of_its_own_gets_the_other() -> None:
    assert of("riscv64", container_image_urls={"x86_64": "http://a"}, container_image_url="http://b").url == "http://b"
    assert of("riscv64", container_image_urls={"x86_64": "http://a"}).url is None


@pytest.mark.parametrize(("machine", "called"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_machines_have_two_names(machine: str, called: str) -> None:
    assert of(machine, container_image_urls={called: "http://a"}).url == "http://a"


def test_a_digest_is_the_end_of_the_url() -> None:
    assert of(container_image_url=f"http://a/b?c=d#sha256={DIGEST.upper()}") == Wanted("x:1", "http://a/b?c=d", DIGEST)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"container_image_name": None}, "no name of an image"),
        ({"container_image_name": "-v/:/x"}, "no name of an image"),
        ({"container_image_name": "a\nb"}, "no name of an image"),
        ({"container_image_url": 5}, "no text"),
        ({"container_image_url": "http://a#sha256=12"}, "64 hexadecimal"),
        ({"container_image_url": f"http://a#md5={DIGEST}"}, "64 hexadecimal"),
        ({"container_image_urls": "{"}, "no JSON"),
        ({"container_image_urls": ["http://a"]}, "no object of URLs"),
        ({"container_image_urls": {"x86_64": 5}}, "no object of URLs"),
    ],
)
def test_what_is_malformed_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        of(**fields)


@pytest.mark.parametrize(
    "name",
    [
        "docker.io/library/x:1",
        "images.example/org/x",
        "123.images.us-west-2.example.com/x:1",
        "localhost:5000/x",
        "host:5000/x:1",
        "registry.example/a/b/c:1",
        f"images.example/org/x@sha256:{DIGEST}",
    ],
)
def test_a_name_that_says_its_registry_is_given_no_other(name: str) -> None:
    assert reference(name, "reg.example") == name


@pytest.mark.parametrize("name", ["x", "x:1", "container-a-b:v1.0", "org/x:1", "localhost/x:1"])
def test_any_other_name_is_looked_for_in_the_workers_registry(name: str) -> None:
    assert reference(name, "reg.example:5000/base/") == f"reg.example:5000/base/{name}"
