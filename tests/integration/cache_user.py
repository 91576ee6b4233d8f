"""One of several that bring the same files at once: `python -m tests.integration.cache_user CACHE PLACE ROOM`.

The URLs come on standard input, one a line; a line is printed for each file once it is in place.
"""

import random
import sys
from pathlib import Path

from pipeline.inputs.backends import Backends
from pipeline.inputs.cache import Cache
from pipeline.inputs.entry import key_of
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.http import HttpClient, HttpSource
from pipeline.inputs.limits import Limits
from pipeline.inputs.patience import Patience
from pipeline.inputs.policy import Policy
from pipeline.inputs.request import Input


def main() -> None:
    limits = Limits(backoff=0.05, backoff_max=0.2, stall=30.0)
    cache = Cache(Path(sys.argv[1]), int(sys.argv[3]), limits)
    client = HttpClient(Backends(), Policy(hosts=("127.0.0.1",)), 30.0)
    place = Path(sys.argv[2])
    urls = sys.stdin.read().split()
    random.shuffle(urls)
    for url in urls:
        target = place / key_of(url)
        brought = cache.bring(url, HttpSource(Input(url), client), target, Patience(120), Gauge(1 << 40))
        print(url, brought.cached, flush=True)


if __name__ == "__main__":
    main()
