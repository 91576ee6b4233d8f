"""The images of one Docker daemon, or of an engine with its interface."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.images import Image

from pipeline.containers.archive import ArchiveError, ImageArchive
from pipeline.containers.errors import ITS_OWN, EngineError, UnavailableError
from pipeline.containers.image_names import is_qualified, repository_and_tag

_CONFLICT = 409


class DockerImages:
    """`clients` gives a client that answers soon, and one that may take its time; `prefix` goes before short names.

    Its methods block.
    """

    def __init__(
        self, title: str, clients: Callable[[], tuple[docker.DockerClient, docker.DockerClient]], prefix: str = ""
    ) -> None:
        self._title = title
        self._clients = clients
        self._prefix = prefix

    def id_of(self, image: str | None) -> str:
        """Return the id that a name stands for; raises EngineError where there is none, DockerException."""
        if not image:
            raise EngineError("the job names no container image")
        try:
            return str(self._clients()[0].images.get(image).id)
        except ImageNotFound as error:
            raise EngineError(f"container image {image} isn't on this machine") from error

    def load(self, archive: Path, image: str) -> None:
        """See Engine; only once it is there, and is what the archive says, does it get the name."""
        try:
            repository_and_tag(image)
            found = ImageArchive.read(archive, image)
            loaded = self._loaded(found)
            if not found.is_that(loaded.attrs):
                raise ArchiveError(f"{self._title} made {loaded.id} of the archive's {found.image_id}")
            self._named(loaded, image)
        except EngineError as error:
            raise type(error)(f"image {image}: {error}") from error
        except (DockerException, requests.RequestException, OSError) as error:
            raise self._failed(image, error) from error

    def pull(self, reference: str, image: str) -> None:
        """See Engine."""
        quick, patient = self._clients()
        try:
            if reference != image:
                repository_and_tag(image)
            before = self._has(reference)
            api: Any = patient.api
            name, _, digest = reference.partition("@")
            repository, tag = (name, digest) if digest else repository_and_tag(name)
            for part in api.pull(repository, tag=tag, stream=True, decode=True):
                if wrong := str(part.get("error") or part.get("message") or ""):
                    raise self._refused(wrong, "pull")
            if reference != image:
                self._named(quick.images.get(reference), image)
                if not before:
                    quick.images.remove(reference)
        except EngineError as error:
            raise type(error)(f"image {image}: {error}") from error
        except (DockerException, requests.RequestException) as error:
            raise self._failed(image, error, "pull") from error

    def _has(self, name: str) -> bool:
        try:
            self._clients()[0].images.get(name)
            return True
        except ImageNotFound:
            return False

    def _named(self, found: Image, image: str) -> None:
        repository, tag = repository_and_tag(image)
        plain = is_qualified(image) or repository.startswith("localhost/")
        found.tag(repository if plain else f"{self._prefix}{repository}", tag)

    def unload(self, image: str, image_id: str) -> bool:
        """See Engine."""
        client = self._clients()[0]
        try:
            if str(client.images.get(image).id) == image_id:
                # a name is taken away; the image goes with its last one
                client.images.remove(image)
            return True
        except ImageNotFound:
            return True
        except APIError as error:
            if error.status_code == _CONFLICT or "in use" in str(error.explanation):
                return False
            raise self._failed(image, error) from error
        except (DockerException, requests.RequestException) as error:
            raise self._failed(image, error) from error

    def size(self, image: str) -> int:
        """See Engine."""
        try:
            size = self._clients()[0].images.get(image).attrs.get("Size")
        except (DockerException, requests.RequestException) as error:
            raise self._failed(image, error) from error
        return size if isinstance(size, int) else 0

    def _loaded(self, archive: ImageArchive) -> Image:
        quick, patient = self._clients()
        said = self._send(patient, archive)
        for name in (archive.image_id, said):
            try:
                return quick.images.get(name)
            except ImageNotFound:
                continue
        raise ArchiveError(f"{self._title} loaded the archive and doesn't know its image {archive.image_id}")

    def _send(self, client: docker.DockerClient, archive: ImageArchive) -> str:
        """Load an archive; return the id that the engine says its image has."""
        said = archive.image_id
        api: Any = client.api
        # Podman would take any layers, and the image is known to all by its configuration's digest.
        for part in api.load_image(archive.stream(check=True), quiet=True) or ():
            # an answer that isn't 200 comes as its body too
            if wrong := str(part.get("error") or part.get("message") or ""):
                raise self._refused(wrong)
            text = str(part.get("stream") or "").strip()
            if text.startswith("Loaded image"):
                said = text.partition(": ")[2] or said
        return said

    def _refused(self, said: str, doing: str = "load") -> EngineError:
        own = any(words in said for words in ITS_OWN)
        return (UnavailableError if own else EngineError)(f"{self._title} can't {doing} it: {said[:1000]}")

    def _failed(self, image: str, error: Exception, doing: str = "load") -> EngineError:
        said = str(getattr(error, "explanation", None) or error)
        if isinstance(error, APIError):
            refused = self._refused(said, doing)
            return type(refused)(f"image {image}: {refused}")
        return UnavailableError(f"image {image}: {self._title} doesn't work: {said}")
