"""Engines that run one command: as a process, in a container, or not at all.

`spec` says what to run, `stop` asks for its end, `outcome` says how it ended; `base` holds what all engines share
(limits, signals, classification, clean-up), one module each holds an engine, and `factory` picks one by name. A `pump`
carries what the command prints to its `output`: bounded files, and an observer.
`cgroups` and `watch` know what a run uses, and whether its memory limit killed; `interruption`, whether the engine did.
`archive` reads what images are loaded from.
May import: the standard library, orjson and, only in `docker`, `docker_images`, `docker_labels`, `podman`, `container`,
`interruption` and `attached`, the Docker SDK. Imports no other part of `pipeline`. Linux only.
"""
