"""What kind of machine this is, from what the kernel shows of it; asks nobody, starts nothing."""

from pathlib import Path

_ROOT = Path("/")
#: Files by which a container's engine tells what is in it.
_CONTAINERS = ((".dockerenv", "docker"), ("run/.containerenv", "podman"))
#: Words of a machine's maker and product, and what the hypervisor is called for them.
_HYPERVISORS = (
    ("amazon ec2", "kvm"),
    ("google", "gce"),
    ("openstack", "openstack"),
    ("microsoft corporation virtual machine", "hyperv"),
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("parallels", "parallels"),
    ("xen", "xenhvm"),
    ("bochs", "bochs"),
    ("kvm", "kvm"),
    ("qemu", "kvm"),
)
#: Bytes of a file that are read.
_LIMIT = 1 << 16


def virtual(root: Path = _ROOT) -> str:
    """Return what the machine is a guest of, as facter calls it; `physical` for none, `unknown` for one unheard of."""
    for name, engine in _CONTAINERS:
        if (root / name).exists():
            return engine
    if inside := _text(root / "run/systemd/container"):
        return inside
    if _text(root / "sys/hypervisor/type") == "xen":
        return "xenu"
    made = f"{_dmi(root, 'sys_vendor')} {_dmi(root, 'product_name')}".lower()
    if ".metal" in made:
        return "physical"
    for words, hypervisor in _HYPERVISORS:
        if words in made:
            return hypervisor
    flags = (line for line in _text(root / "proc/cpuinfo").splitlines() if line.startswith("flags"))
    return "unknown" if any("hypervisor" in line.split() for line in flags) else "physical"


def is_ec2(root: Path = _ROOT) -> bool:
    """Say whether the machine shows itself to be one of Amazon EC2's."""
    return _dmi(root, "sys_vendor") == "Amazon EC2" or _text(root / "sys/hypervisor/uuid").startswith("ec2")


def sockets(root: Path = _ROOT) -> int:
    """Return how many physical processors there are; 1 where the kernel doesn't say."""
    found = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")
    return len({_text(path) for path in found}) or 1


def domain_name(name: str, root: Path = _ROOT) -> str:
    """Return the domain of a host of this name, from the name itself or the hosts file; empty where neither says."""
    short, _, domain = name.partition(".")
    if domain:
        return domain
    for line in _text(root / "etc/hosts").splitlines():
        names = line.partition("#")[0].split()[1:]
        for one in names:
            if name in names and one.startswith(f"{short}."):
                return one.partition(".")[2]
    return ""


def _dmi(root: Path, name: str) -> str:
    return _text(root / "sys/class/dmi/id" / name)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT).decode(errors="replace").strip()
    except OSError:
        return ""
