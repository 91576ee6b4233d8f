"""One of several workers that want an image: `python -m tests.integration.image_user ENGINE HOME NAME URL [stick]`.

It prints what came of it as JSON, and logs to PID.log in the home. With `stick` it prints `loading` when the engine has
half of the archive, and goes no further.
"""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from agents.worker.images import Images
from agents.worker.preparing import Preparing
from pipeline.containers.archive import ImageArchive
from pipeline.containers.factory import EngineSettings, engine
from pipeline.settings import Settings
from pipeline.work.errors import AttemptError

_stream = ImageArchive.stream


def _half(archive: ImageArchive, check: bool = False) -> Iterator[bytes]:
    parts = list(_stream(archive, check))
    yield from parts[: len(parts) // 2]
    print("loading", flush=True)
    threading.Event().wait()


async def main(name: str, home: Path, image: str, url: str) -> None:
    inputs = {"hosts": ("127.0.0.1",), "tries": 1, "cache_mib": 0}
    settings = Settings.model_validate({"home": home, "inputs": inputs})
    using = engine(name, EngineSettings(state_dir=home))
    supply = Images(settings, using, Preparing(settings).localizer).of("fam-1").supply
    try:
        made = await supply([{"container_image_name": image, "container_image_url": url}])
        print(json.dumps(dict(made[0])), flush=True)
    except AttemptError as error:
        print(json.dumps({"error": str(error), "category": error.category}), flush=True)
    await using.close()


if __name__ == "__main__":
    if "stick" in sys.argv:
        ImageArchive.stream = _half  # type: ignore[method-assign]
    folder = Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    logging.basicConfig(filename=folder / f"{os.getpid()}.log", level=logging.INFO)
    asyncio.run(main(sys.argv[1], folder, *sys.argv[3:5]))
