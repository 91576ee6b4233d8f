"""System calls that a container's command may not make, as a profile for engines that bring none of use.

What Docker's own profile refuses to a container without capabilities, the other way round: a list of what is refused
leaves new, harmless calls of newer C libraries alone, and the kernel refuses most of what is listed to whoever has no
capabilities anyhow. Namespaces of users are what it is about: in one, a command would have all capabilities again.
"""

import json
import platform
from typing import Any

_REFUSED = """
    acct add_key bpf chroot clock_adjtime clock_adjtime64 clock_settime clock_settime64 create_module delete_module
    fanotify_init finit_module fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter
    io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mount
    mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open
    pivot_root process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key
    setdomainname sethostname setns settimeofday stime swapoff swapon sysfs syslog umount umount2 unshare uselib
    userfaultfd ustat vhangup vm86 vm86old
"""
#: clone(2)'s flags for new namespaces: mount, cgroup, UTS, IPC, user, PID, network.
_NEW_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
#: Architectures whose calls a machine of the first one runs too.
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def profile() -> str:
    """Return the profile for this machine, in the JSON of the OCI's runtime specification."""
    made: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": _ARCHITECTURES.get(platform.machine(), []),
        "syscalls": [
            _rule(*_REFUSED.split()),
            # Its flags lie in memory, where no filter can look, and it must not just fail: C libraries fall back to
            # clone only from a call that isn't there, and that is how one looks that is to be traced, by nobody.
            _rule("clone3", action="SCMP_ACT_TRACE"),
            *(_rule("clone", flag=flag) for flag in _NEW_NAMESPACES),
        ],
    }
    return json.dumps(made)


def _rule(*names: str, action: str = "SCMP_ACT_ERRNO", flag: int | None = None) -> dict[str, Any]:
    of = [] if flag is None else [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}]
    return {"names": list(names), "action": action, "args": of}
