"""The specification of a node's container. Pure.

There is no field for a host mount, a device, a capability or a privilege, so nobody can request one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: Directory of a node's secrets, one file each; the container's environment names only the paths.
SECRETS_DIRECTORY: Final = "/run/zenith"
#: Size of /tmp, the only other writable directory; it is in memory and counts towards the container's limit.
TMP_BYTES: Final = 64 * 1024 * 1024
#: Size and number of the log files that Docker keeps per container.
LOG_SIZE: Final = "10m"
LOG_FILES: Final = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """The specification of one container.

    Attributes:
        command: arguments to the image's entry point.
        network: a network of the engine to join.
        files: secrets by file name, written to SECRETS_DIRECTORY before each start.
        processes: limit on processes and threads.
    """

    name: str
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    network: str
    memory_bytes: int
    cpus: float
    processes: int
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
