"""Reading image archives, in the shapes that they come in, and in those that nobody should have made."""

import gzip
import io
import tarfile
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.containers import archive as archives
from pipeline.containers.archive import ArchiveError, ImageArchive
from pipeline.containers.docker_images import DockerImages
from pipeline.containers.errors import EngineError
from pipeline.containers.image_names import canonical, repository_and_tag
from tests import image_support as images

LAYER = images.layer()
CONFIG = images.config(LAYER)
CONFIG_NAME = f"{images.digest(CONFIG)}.json"


def manifest(*names: str, layers: tuple[str, ...] = ("a/layer.tar",)) -> bytes:
    return images.dumps([images.entry(CONFIG, names, *layers)])


def streamed(archive: ImageArchive) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive.stream()))) as tar:
        return {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}


def test_what_is_loaded_is_one_image_without_a_name(tmp_path: Path) -> None:
    other = images.config(LAYER)
    entries = [images.entry(other, ["other:1"], "a/layer.tar"), images.entry(CONFIG, ["mine:1"], "a/layer.tar")]
    files = {
        "repositories": b'{"other": {"1": "x"}}',
        "a/layer.tar": LAYER,
        f"{images.digest(other)}.json": other,
        CONFIG_NAME: CONFIG,
        "manifest.json": images.dumps(entries),
    }
    archive = ImageArchive.read(images.pack(tmp_path / "a", files), "mine:1")
    assert archive.image_id == f"sha256:{images.digest(CONFIG)}"
    assert streamed(archive) == {
        "manifest.json": images.dumps([{"Config": CONFIG_NAME, "RepoTags": None, "Layers": ["1.tar"]}]).replace(
            b" ", b""
        ),
        CONFIG_NAME: CONFIG,
        "1.tar": LAYER,
    }


def test_layers_may_be_links_to_others(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        for name, data in (
            (CONFIG_NAME, CONFIG),
            ("a/layer.tar", LAYER),
            ("manifest.json", manifest(layers=("./b/l",))),
        ):
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("b/l")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
        tar.addfile(link)
    assert streamed(ImageArchive.read(tmp_path / "a", "x:1"))["1.tar"] == LAYER


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "b/l", "nowhere"])
def test_a_link_that_leads_out_of_the_archive_leads_nowhere(tmp_path: Path, target: str) -> None:
    images.pack(tmp_path / "a", {CONFIG_NAME: CONFIG, "manifest.json": manifest(layers=("b/l",))})
    with tarfile.open(tmp_path / "a", "a") as tar:
        link = tarfile.TarInfo("b/l")
        link.type, link.linkname = tarfile.SYMTYPE, target
        tar.addfile(link)
    with pytest.raises(ArchiveError, match="layer b/l is missing"):
        ImageArchive.read(tmp_path / "a", "x:1")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"index.json": b"{}", "oci-layout": b"{}"}, "OCI layout"),
        ({"x": b"y"}, "no image archive"),
        ({"manifest.json": b"[", "a/layer.tar": LAYER}, "damaged"),
        ({"manifest.json": b"{}"}, "another shape"),
        ({"manifest.json": b"[]"}, "0 images without a name"),
        ({"manifest.json": manifest(), "a/layer.tar": LAYER}, "json is missing"),
        ({"manifest.json": manifest(), CONFIG_NAME: CONFIG}, "layer.tar is missing"),
        ({"manifest.json": manifest(layers=()), CONFIG_NAME: CONFIG}, "not those of its configuration"),
        ({"manifest.json": manifest("other:2"), CONFIG_NAME: CONFIG, "a/layer.tar": LAYER}, "holds other:2, not x:1"),
    ],
)
def test_what_can_not_be_loaded_says_why(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        ImageArchive.read(images.pack(tmp_path / "a", files), "x:1")


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {CONFIG_NAME: CONFIG, "a/layer.tar": bytes(10 << 20), "manifest.json": manifest()}
    images.pack(tmp_path / "a", files, "w:gz")
    ImageArchive.read(tmp_path / "a", "x:1")
    monkeypatch.setattr(archives, "_MODEST", 1 << 20)
    with pytest.raises(ArchiveError, match="times its size"):
        ImageArchive.read(tmp_path / "a", "x:1")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_cut_off_anywhere_is_refused(tmp_path: Path, mode: str) -> None:
    whole = tmp_path / "whole"
    images.save(whole, "x:1", mode=mode)
    data = whole.read_bytes()
    for part in range(1, 10):
        (tmp_path / "cut").write_bytes(data[: len(data) * part // 10])
        with pytest.raises(ArchiveError):
            b"".join(ImageArchive.read(tmp_path / "cut", "x:1").stream())


def test_of_an_engine_with_other_ids_the_layers_count(tmp_path: Path) -> None:
    images.pack(tmp_path / "a", {CONFIG_NAME: CONFIG, "a/layer.tar": LAYER, "manifest.json": manifest()})
    archive = ImageArchive.read(tmp_path / "a", "x:1")
    assert archive.is_that({"Id": archive.image_id})
    assert archive.is_that({"Id": "sha256:other", "RootFS": {"Layers": list(archive.diff_ids)}})
    assert not archive.is_that({"Id": "sha256:other", "RootFS": {"Layers": ["sha256:x"]}})
    assert not archive.is_that({"Id": "sha256:other"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hello", "hello:latest"),
        ("hello:1", "hello:1"),
        ("localhost/hello:1", "hello:1"),
        ("docker.io/library/hello:1", "hello:1"),
        ("docker.io/org/hello:1", "org/hello:1"),
        ("localhost:5000/hello", "localhost:5000/hello:latest"),
        ("images.example/org/hello:1", "images.example/org/hello:1"),
    ],
)
def test_names_are_compared_as_engines_read_them(name: str, meant: str) -> None:
    assert canonical(name) == meant


def test_a_name_is_a_repository_and_a_tag() -> None:
    assert repository_and_tag("localhost:5000/a/b") == ("localhost:5000/a/b", "latest")
    assert repository_and_tag("a/b:2") == ("a/b", "2")


def packed(path: Path, layer: bytes, config: bytes = CONFIG) -> ImageArchive:
    described = images.dumps([{"Config": "c", "RepoTags": None, "Layers": ["a"]}])
    return ImageArchive.read(images.pack(path, {"a": layer, "c": config, "manifest.json": described}), "mine:1")


@pytest.mark.parametrize(
    "layer", [LAYER, gzip.compress(LAYER), gzip.compress(LAYER[:99]) + gzip.compress(LAYER[99:])], ids=len
)
def test_layers_that_are_the_configurations_pass_as_they_are(tmp_path: Path, layer: bytes) -> None:
    archive = packed(tmp_path / "a", layer)
    assert b"".join(archive.stream(check=True)) == b"".join(archive.stream())
    assert streamed(archive)["0.tar"] == layer


def test_a_layer_that_is_small_only_when_it_is_compressed_passes(tmp_path: Path) -> None:
    layer = bytes((5 << 20) + 7)
    assert b"".join(packed(tmp_path / "a", gzip.compress(layer), images.config(layer)).stream(check=True))


@pytest.mark.parametrize("layer", [images.layer(x=b""), gzip.compress(images.layer(x=b"")), LAYER[:-512], b""], ids=len)
def test_other_layers_than_the_configurations_do_not_pass(tmp_path: Path, layer: bytes) -> None:
    archive = packed(tmp_path / "a", layer)
    with pytest.raises(ArchiveError, match="is not the configuration's"):
        list(archive.stream(check=True))


def test_a_layer_is_not_unpacked_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MODEST", 1 << 20)
    layer = bytes(20 << 20)
    archive = packed(tmp_path / "a", gzip.compress(layer), images.config(layer))
    with pytest.raises(ArchiveError, match="unpacks to more"):
        list(archive.stream(check=True))


def test_what_can_not_be_named_is_not_pulled_first() -> None:
    quick, patient = Mock(), Mock()
    name = f"org/x@sha256:{'0' * 64}"
    with pytest.raises(EngineError, match="name with a digest"):
        DockerImages("Docker", lambda: (quick, patient)).pull(f"images.example/{name}", name)
    patient.api.pull.assert_not_called()
