"""Images that are files: which names lead where, and what they are told apart by."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.containers.apptainer import ApptainerEngine
from pipeline.containers.errors import EngineError, RefusedError
from pipeline.containers.images import IDENTITY_FILE, ImageFolder
from pipeline.containers.loading import is_sif
from pipeline.containers.seccomp import profile


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    (folder / "a/b:1.sif").write_bytes(b"first")
    (folder / "root").mkdir()
    (tmp_path / "outside.sif").write_bytes(b"outside")
    return ImageFolder(folder)


def test_a_name_is_a_file_or_a_directory_of_the_folder(images: ImageFolder) -> None:
    folder = images.folder
    assert images.find("a/b:1") == images.find("a/b:1.sif") == images.find(f"{folder}/a/b:1.sif")
    assert images.find("root") == folder / "root"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.sif",
        "../outside",
        "a/../../outside",
        "a/..",
        "{tmp}/outside.sif",
        "{tmp}/images/../outside.sif",
        "{tmp}/images",
        "link",
        "folder/outside",
        "--writable",
        "docker://busybox",
        "a//b:1",
        "a/b:1\n",
        ".hidden",
        "/etc",
        "a\0b",
    ],
)
def test_what_is_not_in_the_folder_is_refused(images: ImageFolder, tmp_path: Path, name: str) -> None:
    (images.folder / "link").symlink_to(tmp_path / "outside.sif")
    (images.folder / "folder").symlink_to(tmp_path)
    with pytest.raises(RefusedError):
        images.find(name.format(tmp=tmp_path))


@pytest.mark.parametrize("name", ["a/b:2", "none", None, "", "a/b:1/c"])
def test_an_image_that_is_not_there_is_named(images: ImageFolder, name: str | None) -> None:
    with pytest.raises(EngineError, match=f"container image {name} isn't on this machine" if name else "no container"):
        images.find(name)


def test_a_file_is_told_by_its_digest_and_read_again_only_once_it_changed(images: ImageFolder) -> None:
    path = images.find("a/b:1")
    first = images.identity(path)
    assert first == digest(b"first")
    kept = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert images.identity(path) == first
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))
    assert images.identity(path) != first


def test_a_directory_is_told_by_what_it_was_made_from_or_else_by_its_place(images: ImageFolder) -> None:
    root = images.find("root")
    assert images.identity(root).startswith("directory:")
    (root / IDENTITY_FILE).write_text("sha256:abc\n")
    assert images.identity(root) == "sha256:abc"


def test_what_is_kept_under_a_name_gives_way_to_another_and_stays_where_it_was(images: ImageFolder) -> None:
    images.keep("new/x:1", "sha256:1", lambda path: path.write_text("one"))
    first = images.find("new/x:1")
    images.keep("new/x:1", "sha256:2", lambda path: path.write_text("two"))
    assert (first.read_text(), images.find("new/x:1").read_text()) == ("one", "two")


def test_what_is_kept_already_is_not_made_again(images: ImageFolder) -> None:
    images.keep("x", "sha256:1", lambda path: path.write_text("one"))

    def never(_: Path) -> None:
        raise AssertionError("made again")

    images.keep("y", "sha256:1", never)
    assert images.find("y") == images.find("x")


def test_an_image_that_can_not_be_made_leaves_nothing(images: ImageFolder) -> None:
    def broken(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        images.keep("x", "sha256:1", broken)
    assert list((images.folder / ".images").iterdir()) == []
    with pytest.raises(EngineError):
        images.find("x")


@pytest.mark.parametrize("name", ["../x", "/x", "-x", ""])
def test_nothing_is_kept_under_a_bad_name(images: ImageFolder, name: str) -> None:
    with pytest.raises(RefusedError):
        images.keep(name, "sha256:1", lambda path: path.write_text("one"))


def root_directory(path: Path) -> None:
    (path / "bin").mkdir(parents=True)
    (path / "bin/sh").write_text("its own")


@pytest.mark.parametrize("name", ["loaded:1/bin/sh", "loaded:1/x", "root/bin/sh", "root/opt/x"])
def test_nothing_is_kept_within_another_image(images: ImageFolder, name: str) -> None:
    images.keep("loaded:1", "sha256:1", root_directory)
    root_directory(images.folder / "root")
    with pytest.raises(RefusedError, match="is an image itself"):
        images.keep(name, "sha256:2", lambda path: path.write_text("two"))
    for image in ("loaded:1", "root"):
        found = images.find(image)
        assert sorted(str(path.relative_to(found)) for path in found.rglob("*")) == ["bin", "bin/sh"]
        assert (found / "bin/sh").read_text() == "its own"


async def test_what_is_there_does_not_count_as_removed(images: ImageFolder, tmp_path: Path) -> None:
    engine = ApptainerEngine(tmp_path / "state", images.folder, program="/bin/true")
    images.keep("x:1", "sha256:1", root_directory)
    found = str(await engine.image_id("x:1"))
    assert not await engine.unload("x:1", found)
    assert await engine.unload("x:1", "sha256:another")
    (images.folder / "x:1").unlink()
    assert await engine.unload("x:1", found)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_sif_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\x0001\0")
    (tmp_path / "y.sif").write_bytes(b"SIF_MAGIC")
    assert is_sif(tmp_path / "x")
    assert not is_sif(tmp_path / "y.sif")


def test_the_profile_refuses_what_gives_privileges_and_allows_what_is_new() -> None:
    made = json.loads(profile())
    refused = {name for rule in made["syscalls"] if not rule["args"] for name in rule["names"]}
    assert {"mount", "unshare", "setns", "clone3", "ptrace", "bpf", "keyctl", "io_uring_setup"} <= refused
    assert made["defaultAction"] == "SCMP_ACT_ALLOW"
    assert not {"clone", "openat", "execve", "rseq", "statx", "futex"} & refused
