"""A plug-in for the embedded Elasticsearch, compiled from one Java file: what its archive lacks for API keys."""

import subprocess
import zipfile
from pathlib import Path

from ops.embedded.artifacts import of_server
from ops.embedded.fetch import ArtifactStore
from ops.embedded.java import environment, java_home
from ops.embedded.unprivileged import make_public, open_to_all

SOURCE = Path(__file__).with_name("KeyAnalysis.java")
#: the Java that the server wants at least
_JAVA = "21"
_DESCRIPTOR = """\
description=analysis for the index of API keys
version=1
name=keys
classname={name}
java.version={java}
elasticsearch.version={release}
"""


def with_plugin(distribution: Path, folder: Path) -> Path:
    """Return a distribution in `folder` that is this one with the plug-in; this one stays as it is."""
    made = folder / "distribution"
    make_public(made)
    for part in ("bin", "lib", "modules"):
        (made / part).symlink_to(distribution / part)
    place = made / "plugins" / "keys"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "keys.jar", "w") as jar:
        for file in _compiled(distribution / "lib", folder / "classes"):
            jar.write(file, file.name)
    (server,) = of_server("elasticsearch")
    described = _DESCRIPTOR.format(name=SOURCE.stem, java=_JAVA, release=server.version)
    (place / "plugin-descriptor.properties").write_text(described)
    open_to_all(made)
    return made


def _compiled(libraries: Path, target: Path) -> list[Path]:
    (compiler,) = ArtifactStore().ensure(of_server("compiler"), "compiler")
    done = subprocess.run(
        [
            *(java_home() / "bin" / "java", "-jar", compiler),
            # no --release: the runtime has no list of older ones
            *("-source", _JAVA, "-target", _JAVA, "-proc:none", "-cp", ":".join(map(str, libraries.glob("*.jar")))),
            *("-d", target, SOURCE),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(target.glob("*.class"))
