"""Light Python functions, called without a container (spec §5).

`check` says whether a task may run, and within what bounds; `verdict` what follows from how it ended; `facts` builds
what is told of it. `child` calls the function in a process of its own, in a directory from `folders`; its other side is
`runner`. `builtin` has functions to try it with.
May import: the standard library, orjson, and from the rest of `pipeline`.
"""
