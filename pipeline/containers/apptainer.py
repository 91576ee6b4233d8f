"""The engine that runs a command in an Apptainer container, hardened as with Docker (decision 015).

There is no daemon: a container is a process of this host, and so this engine is the process engine with another command
line. Images are files and directories below one folder.
"""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.containers.base import Orphan
from pipeline.containers.cgroups import groups_of
from pipeline.containers.contained import FAILED, ContainedProcess, groups_called, remove_groups
from pipeline.containers.errors import NOT_FOUND, EngineError, RefusedError, UnavailableError
from pipeline.containers.images import ImageFolder
from pipeline.containers.loading import load
from pipeline.containers.mounts import MountPolicy, engine_sockets
from pipeline.containers.namespaces import children
from pipeline.containers.ownership import default_user, give, parse_user
from pipeline.containers.process import Launch, ProcessEngine, RunningProcess
from pipeline.containers.processes import TOKEN_VARIABLE, ProcessRecord, members
from pipeline.containers.pump import Pump
from pipeline.containers.seccomp import profile
from pipeline.containers.spec import Mount, RunSpec
from pipeline.containers.threads import in_thread

#: What its own first process in a container needs of the limit on processes.
_OWN_THREADS = 16
_LEAST_MEMORY_MIB = 6
#: Before the name of a variable that Apptainer sets for the command.
_GIVEN = "APPTAINERENV_"
#: Names that its shell, which sets the environment, can set.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What a container would see of the host by Apptainer's own settings.
_NOT_MOUNTED = "home,tmp,cwd,hostfs,bind-paths"
#: Makes what only the run sees and what is gone with it: `/tmp` and `/dev/shm` of bounded size, and, for Apptainer
#: itself, a list of users by which the command's user has its home.
_ENCLOSE = f"""
enclose() {{
    mount -t tmpfs -o mode=755,size=4m jobstream "$place" && mkdir "$place/tmp" "$place/shm" &&
    mount -t tmpfs -o "nosuid,nodev,mode=1777,size=$tmp" jobstream "$place/tmp" &&
    mount -t tmpfs -o "nosuid,nodev,mode=1777,size=$shm" jobstream "$place/shm" &&
    printf 'root:x:0:0::/:/bin/sh\\n%s\\n' "$entry" >"$place/passwd" && mount --bind "$place/passwd" /etc/passwd
}}
place=$1 tmp=$2 shm=$3 entry=$4
shift 4
enclose || {{ echo 'FATAL:   the container got no place of its own' >&2; exit {FAILED}; }}
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class _Files:
    """Files of this engine's that a run needs."""

    place: Path
    seccomp: Path
    config: Path


class ApptainerEngine(ProcessEngine):
    """Runs commands in containers made by the program `apptainer`, of images below one folder.

    `roots`, `writable_roots`, `networks`, `gpus` and `user` are as with Docker; with `gpus` a run sees all of the
    host's, however many it asked for. All isolation needs a worker that is root; one that isn't runs commands as
    itself, and only where Apptainer may make control groups for it (version 2, delegated).

    The command gets HOME (its working directory, whatever the spec says), the spec's and the image's environment, one
    variable that marks the run's processes, and Apptainer's own: PWD, PS1, PROMPT_COMMAND and those that begin with
    APPTAINER_ and SINGULARITY_. Variables whose names a shell can't set are left out, and noted.
    """

    name = "apptainer"
    needs_image = True

    def __init__(
        self,
        state_dir: Path,
        images: Path,
        *,
        program: str = "apptainer",
        roots: Sequence[Path] = (),
        writable_roots: Sequence[Path] = (),
        networks: Sequence[str] = (),
        gpus: bool = False,
        user: str | None = None,
    ) -> None:
        """Keep records and what runs need in `state_dir`, out of reach for jobs; `program` is its path or name."""
        super().__init__(state_dir, user or default_user())
        parse_user(str(self._user))
        self._images = ImageFolder(images)
        self._program = program
        self._policy = MountPolicy(tuple(roots), tuple(writable_roots), engine_sockets())
        self._networks = frozenset(networks) | {"none"}
        self._gpus = gpus

    async def image_id(self, image: str | None) -> str | None:
        """See Engine; ImageFolder says what it is."""
        self._find_program()
        return await in_thread(lambda: self._images.identity(self._images.find(image)))

    async def load(self, archive: Path, image: str) -> None:
        """See Engine; takes SIF files as they are, and unpacks archives into directories."""
        try:
            await in_thread(self._load, archive, image)
        except OSError as error:
            # Reading the archive or writing the image: neither is the image's fault.
            raise UnavailableError(f"container image {image} can't be kept: {error}") from error
        except EngineError as error:
            raise type(error)(f"image {image}: {error}") from error

    async def unload(self, image: str, image_id: str) -> bool:
        """See Engine; here images stay until the operator removes them, for nobody knows which others run."""
        try:
            return await self.image_id(image) != image_id
        except UnavailableError:
            raise
        except EngineError:
            return True

    @property
    def store(self) -> str:
        """See Engine."""
        return f"{self.name} {self._images.folder}"

    def environment(self, spec: RunSpec) -> dict[str, str]:
        """See Engine; none, the command line sets all of it."""
        return {}

    def command_line(self, spec: RunSpec, withheld: Collection[str] = ()) -> list[str]:
        """Return a command that makes the same container, its environment first."""
        launch = self._launch_of(spec, {})
        left_out = {f"{_GIVEN}{name}": name for name in withheld if _can_be_set(name)}
        words = [*(f"{name}={value}" for name, value in launch.env.items() if name not in left_out), *launch.argv]
        if not left_out:
            return ["env", "-i", *words]
        passed = " ".join(f'${{{name}+"{given}=${name}"}}' for given, name in left_out.items())
        return ["sh", "-c", f'exec env -i {passed} "$@"', "sh", *words]

    def describe(self, spec: RunSpec) -> dict[str, object]:
        """See Engine; the names are those that the other engines use. Raises EngineError."""
        memory = f"{_memory(spec)}m"
        return {
            "image": str(self._image(spec)),
            "user": spec.user or self._user,
            "network_mode": spec.network,
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true", "seccomp"],
            "mem_limit": memory,
            "memswap_limit": memory,
            "cpus": spec.cpus,
            "pids_limit": spec.pids_limit + _OWN_THREADS,
            "shm_size": f"{_shm(spec)}m",
            "tmpfs": {"/tmp": f"{_tmp(spec)}m"},  # noqa: S108
            "mounts": [
                {"Type": "bind", "Source": mount.host, "Target": mount.container, "ReadOnly": mount.mode == "ro"}
                for mount in self._mounts(spec)
            ],
            "gpus": bool(spec.gpus) and self._gpus,
            "working_dir": str(spec.working_dir),
        }

    def _plan(self, spec: RunSpec, token: str) -> Launch:
        launch = self._launch_of(spec, {TOKEN_VARIABLE: token})
        self._images.identity(self._image(spec))
        for mount in self._mounts(spec)[1:]:
            _make_target(mount, spec.working_dir)
        give(spec.working_dir, *parse_user(spec.user or str(self._user)))
        return launch

    def _image(self, spec: RunSpec) -> Path:
        return self._images.known_as(spec.image, spec.image_id)

    def _launch_of(self, spec: RunSpec, extra: Mapping[str, str]) -> Launch:
        program, image = self._find_program(), self._image(spec)
        if not spec.argv:
            raise EngineError("no command", NOT_FOUND)
        if spec.network not in self._networks:
            raise RefusedError(f"network {spec.network!r} isn't allowed (allowed: {', '.join(sorted(self._networks))})")
        if re.search(r"[:,\n]", str(spec.working_dir)):
            raise RefusedError(f"{spec.working_dir} can't be a container's working directory: it has one of : and ,")
        user = parse_user(spec.user or str(self._user))
        files = self._files()
        given = {name: value for name, value in {**spec.env, **extra}.items() if _can_be_set(name)}
        return Launch(
            argv=[*_enclosed(spec, files, user), program, *self._options(spec, files, user), str(image), *spec.argv],
            env={
                "PATH": f"{Path(program).parent}:{_PATH}",
                "APPTAINER_CONFIGDIR": str(files.config),
                **{f"{_GIVEN}{name}": value for name, value in given.items()},
            },
            owner=user if os.geteuid() == 0 else None,
        )

    def _options(self, spec: RunSpec, files: _Files, user: tuple[int, int]) -> list[str]:
        directory, memory = str(spec.working_dir), f"{_memory(spec)}M"
        options = ["--silent", "exec", "--containall", "--cleanenv", "--no-eval", "--no-umask", "--no-privs"]
        options += ["--no-mount", _NOT_MOUNTED, "--home", directory, "--pwd", directory]
        options += [] if spec.network == "host" else ["--net", "--network", spec.network]
        options += ["--memory", memory, "--memory-swap", memory, "--cpus", f"{spec.cpus:g}"]
        options += ["--pids-limit", str(spec.pids_limit + _OWN_THREADS), "--security", f"seccomp:{files.seccomp}"]
        mounts = self._mounts(spec)
        if os.geteuid() == 0:
            options += ["--security", f"uid:{user[0]}", "--security", f"gid:{user[1]}"]
            mounts.append(Mount(f"{files.place}/tmp", "/tmp", "rw"))  # noqa: S108
            mounts.append(Mount(f"{files.place}/shm", "/dev/shm", "rw"))  # noqa: S108
        options += [word for mount in mounts for word in ("--mount", _mount_option(mount))]
        return [*options, "--nv"] if spec.gpus and self._gpus else options

    def _mounts(self, spec: RunSpec) -> list[Mount]:
        own = Mount(str(self._policy.working_dir(spec.working_dir)), str(spec.working_dir), "rw")
        return [own, *self._policy.check(spec.mounts, spec.working_dir)]

    def _running(
        self, process: subprocess.Popen[bytes], record: ProcessRecord, pump: Pump, spec: RunSpec
    ) -> RunningProcess:
        image_id = self._images.identity(self._image(spec))
        return ContainedProcess(process, record, self._state_dir, pump, spec, image_id, self._notes(spec))

    def _notes(self, spec: RunSpec) -> list[str]:
        notes = ["the job asked for GPUs, this worker has none"] if spec.gpus and not self._gpus else []
        left_out = [name for name in spec.env if not _can_be_set(name)]
        return [*notes, *([f"left out of the environment: {', '.join(left_out)}"] if left_out else [])]

    def _load(self, archive: Path, image: str) -> None:
        program = self._find_program()
        # Given both, since there may be no home to keep anything in.
        env = {"PATH": f"{Path(program).parent}:{_PATH}", "APPTAINER_CONFIGDIR": str(self._files().config)}
        load(self._images, archive, image, program, env)

    def _reap(self, worker: str, holder: str) -> list[Orphan]:
        self._find_program()
        return super()._reap(worker, holder)

    def _end(self, record: ProcessRecord) -> bool:
        groups = {group for pid in members(record, set()) for group in groups_of(pid)}
        if record.pid:
            groups |= {group for pid in children(record.pid) for group in groups_called(pid)}
        ended = super()._end(record)
        remove_groups(groups)
        return ended

    def _find_program(self) -> str:
        if found := shutil.which(self._program):
            return str(Path(found).absolute())
        raise UnavailableError(f"Apptainer isn't here: {self._program!r} is no program (see worker.apptainer)")

    def _files(self) -> _Files:
        folder = self._state_dir.absolute() / "apptainer"
        files = _Files(folder / "place", folder / "seccomp.json", folder / "config")
        for made in (files.place, files.config):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not files.seccomp.exists() or files.seccomp.read_text() != profile():
            temporary = files.seccomp.with_suffix(f".{uuid.uuid4().hex}")
            temporary.write_text(profile())
            temporary.replace(files.seccomp)
        return files

    def _as_engine_error(self, error: BaseException, spec: RunSpec) -> BaseException:
        if isinstance(error, EngineError) or not isinstance(error, OSError):
            return error
        return UnavailableError(f"the container could not be started: {error}")


def _enclosed(spec: RunSpec, files: _Files, user: tuple[int, int]) -> list[str]:
    if os.geteuid() != 0:
        return []
    entry = f"job:x:{user[0]}:{user[1]}::{spec.working_dir}:/bin/sh"
    own = [str(files.place), f"{_tmp(spec)}m", f"{_shm(spec)}m", entry]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENCLOSE, "jobstream", *own]


def _make_target(mount: Mount, working_dir: Path) -> None:
    """Make what a mount within the working directory is mounted on, following no link; raises RefusedError for one."""
    target = Path(mount.container)
    if not target.is_relative_to(working_dir):
        return
    is_directory = Path(mount.host).is_dir()
    for part in (*reversed(target.relative_to(working_dir).parents[:-1]), target.relative_to(working_dir)):
        path = working_dir / part
        if path.is_symlink():
            raise RefusedError(f"mount at {mount.container}: {path} is a link")
        if not path.exists():
            path.mkdir() if path != target or is_directory else path.touch()


def _mount_option(mount: Mount) -> str:
    fields = ["type=bind", f"source={mount.host}", f"destination={mount.container}"]
    fields += ["ro"] if mount.mode == "ro" else []
    # Read as a line of CSV.
    return ",".join('"' + field.replace('"', '""') + '"' if re.search('[,"\n]', field) else field for field in fields)


def _can_be_set(name: str) -> bool:
    return _VARIABLE.fullmatch(name) is not None and name != "HOME"


def _memory(spec: RunSpec) -> int:
    return max(spec.memory_mib, _LEAST_MEMORY_MIB)


def _tmp(spec: RunSpec) -> int:
    return max(spec.memory_mib // 2, 1)


def _shm(spec: RunSpec) -> int:
    return min(spec.shm_mib, spec.memory_mib)
