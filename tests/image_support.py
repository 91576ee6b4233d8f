"""Image archives of the tests' own: each one's image is unlike any other, and runs busybox."""

import io
import json
import shutil
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import docker

#: Marks the images of this process's tests: others may test on the same engine.
SESSION = uuid.uuid4().hex
BUSYBOX = shutil.which("busybox") or "/bin/busybox"


def unique_name(tag: str = "1") -> str:
    return f"jobstream-test/{uuid.uuid4().hex[:12]}:{tag}"


def layer(**files: bytes) -> bytes:
    """A layer with a shell, and files in its root."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox", filter=_plain)
        for applet in ("sh", "cat", "sleep", "true", "touch"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, data in files.items():
            _put(tar, name, data)
    return made.getvalue()


def remove_all(client: docker.DockerClient) -> None:
    """Remove the images of this process's tests."""
    # what the list says is enough: others' images may be gone by the time that one asks for more
    for image in client.api.images(all=True):
        if str((image["Labels"] or {}).get("jobstream-test", "")).startswith(SESSION):
            client.images.remove(image["Id"], force=True)


def config(*layers: bytes) -> bytes:
    """A configuration like no other."""
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"jobstream-test": SESSION + uuid.uuid4().hex}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(one).hexdigest()}" for one in layers]},
        }
    ).encode()


def pack(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """An archive of any files."""
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            _put(tar, name, data)
    return path


def save(path: Path, *names: str, mode: str = "w", **files: bytes) -> str:
    """Write an archive as `docker save` would; return its image's id."""
    own = layer(**files)
    described = config(own)
    entries = [entry(described, names, "0/layer.tar")]
    pack(path, {"0/layer.tar": own, f"{digest(described)}.json": described, "manifest.json": dumps(entries)}, mode)
    return f"sha256:{digest(described)}"


def entry(described: bytes, names: Sequence[str], *layers: str) -> dict[str, Any]:
    return {"Config": f"{digest(described)}.json", "RepoTags": list(names) or None, "Layers": list(layers)}


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def dumps(value: object) -> bytes:
    return json.dumps(value).encode()


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.mode = 0o755
    return info
