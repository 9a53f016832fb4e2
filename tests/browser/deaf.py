"""Runs a program that hears nothing of the machine's network interfaces: `deaf.py PROGRAM ARGUMENT …`.

Each container that starts or ends adds or removes an interface. Chromium takes that for another network and gives up its requests
(ERR_NETWORK_CHANGED), so no page would load reliably while other tests start containers. Here the kernel refuses it the netlink
socket over which it would be told (seccomp(2)); it then takes the network for one that never changes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import sys

#: The number of socket(2), and the kernel's name for the architecture (AUDIT_ARCH_…).
ARCHITECTURES = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT
#: Where seccomp_data has the call, the architecture and the low half of the first argument.
CALL, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16


class Instruction(ctypes.Structure):
    """`struct sock_filter`."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction)))


def refuse_netlink() -> None:
    """Refuse this process, and what it becomes and starts, every netlink socket; does nothing where that is not known how."""
    known = ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return
    number, architecture = known
    steps = (
        (LOAD, 0, 0, ARCHITECTURE), (EQUALS, 0, 5, architecture),
        (LOAD, 0, 0, CALL), (EQUALS, 0, 3, number),
        (LOAD, 0, 0, FIRST_ARGUMENT), (EQUALS, 0, 1, int(socket.AF_NETLINK)),
        (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
    )  # fmt: skip
    program = Program(len(steps), (Instruction * len(steps))(*steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


if __name__ == "__main__":
    refuse_netlink()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 (the browser that was found on PATH)
