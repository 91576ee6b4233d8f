"""The product store that the settings name."""

from pipeline.crash_points import here
from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.store import Store
from pipeline.settings import Settings


def product_store(settings: Settings) -> Store:
    """Return the store; an object store is made with the options that the inputs' storage file has for its URL.

    Raises ValueError for a URL or file that is wrong, a DatasetError or OSError for a folder that can't be used.
    """
    url = settings.product_bucket
    if url is None:
        return DirectoryStore(settings.product_store, on_step=_reached)
    if not url.startswith("s3://"):
        raise ValueError(f"products can't be published to {url}: a folder or s3://bucket/prefix is needed")
    # who publishes into a folder pays for neither
    from pipeline.datasets.s3_store import S3Store
    from pipeline.inputs.backends import load_options, options_for

    _, options = options_for(url, load_options(settings.inputs.storage_file))
    return S3Store(url, options)


def _reached(step: str) -> None:
    here(f"worker.publish.{step.replace(' ', '-')}")
