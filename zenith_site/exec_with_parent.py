"""Run a program that ends when its parent does, optionally as another user. A script that needs no installed packages.

    python -I -S exec_with_parent.py PARENT_PID SIGNAL USER MODE PROGRAM [ARGUMENT…]

`manage.py up` starts every process through it. It asks the kernel for SIGNAL on the parent's death, changes to USER (`-` stays),
and becomes PROGRAM by exec, so it takes no memory of its own. MODE `search` keeps one capability across the change of user, to
pass through directories that are closed to USER, such as a clone under /root, whose permissions are not ours to change.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
CAPABILITY_VERSION_3 = 0x20080522
# The second is for containers, which rarely grant the first.
CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE = 2, 1


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main(arguments: list[str]) -> None:
    """Become the program."""
    parent, signal, user, mode, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if user != "-":
        _become(user, libc, search=mode == "search")
    # After the change of user, which clears it.
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child had started")
    os.execvp(command[0], command)  # noqa: S606 (the command line is the supervisor's own)


def _become(user: str, libc: ctypes.CDLL | None, *, search: bool) -> None:
    import pwd

    entry = pwd.getpwnam(user)
    if search and libc is not None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Otherwise access(2), with which initdb looks for its companion programs, would ignore the capability.
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME="/", USER=user, LOGNAME=user)
    if search and libc is not None and not any(_keep(libc, number) for number in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)):
        sys.exit(f"user {user} has no access to the directories above the data directory")


def _keep(libc: ctypes.CDLL, capability: int) -> bool:
    """Reduce the process to one capability that survives exec; return False if this process does not have it."""
    bit = 1 << capability
    sets = (_Sets * 2)(_Sets(bit, bit, bit), _Sets(0, 0, 0))
    if libc.capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), sets) != 0:
        return False
    return bool(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


if __name__ == "__main__":
    main(sys.argv[1:])
