"""Names of images: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`."""

from pipeline.containers.errors import EngineError

#: What a name may begin with without being another name.
_IMPLIED = ("localhost/", "docker.io/library/", "docker.io/", "library/")


def canonical(name: str) -> str:
    """Return a name of an image with its tag, without what engines imply.

    >>> canonical("localhost/hello"), canonical("docker.io/library/hello:2")
    ('hello:latest', 'hello:2')
    """
    for prefix in _IMPLIED:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def repository_and_tag(image: str) -> tuple[str, str]:
    """Return both parts of a name that an image can be given; raises EngineError for one that it can't."""
    if "@" in image:
        raise EngineError(f"{image}: an image can't be given a name with a digest, only one with a tag")
    folder, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{folder}{slash}{name}", tag or "latest"


def is_qualified(name: str) -> bool:
    """Say whether a name says itself which registry it is of (spec §6): its first part has a dot or a colon.

    >>> is_qualified("images.example/org/hello:1"), is_qualified("localhost:5000/hello"), is_qualified("org/hello:1")
    (True, True, False)
    """
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first)
