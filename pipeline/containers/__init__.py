"""Engines that run one command: as a process, in a Docker container, or not at all.

`spec` says what to run, `stop` asks for its end, `outcome` says how it ended; `base` holds what all engines share
(limits, signals, classification, clean-up), one module each holds an engine, and `factory` picks one by name. A `pump`
carries what the command prints to its `output`: bounded files, and an observer.
May import: the standard library and, only in `docker`, `container` and `attached`, the Docker SDK. Imports no other
part of `pipeline`. Linux only.
"""
