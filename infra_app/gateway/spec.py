"""What a container of Zenith is made from. Pure.

There is no field for a host mount, a device, a capability or a privilege, so nobody can ask for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: Where a node finds its secrets, each a file; the container's environment names only the paths.
SECRETS_DIRECTORY: Final = "/run/zenith"
#: Size of the one writable place beside that, in memory, which counts as the container's.
TMP_BYTES: Final = 64 * 1024 * 1024
#: Docker keeps this much of a container's log: files of this size, so many of them.
LOG_SIZE: Final = "10m"
LOG_FILES: Final = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container.

    Attributes:
        command: arguments to the image's entry point.
        network: a network of the engine to join.
        files: secrets by file name, handed over into SECRETS_DIRECTORY before each start.
        processes: how many processes and threads it may have.
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
