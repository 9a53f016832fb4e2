"""Parse image names as Docker does, and match them against the patterns of images that a node may run.

A reference is `registry/path:tag@digest` (https://pkg.go.dev/github.com/distribution/reference). The defaults are docker.io,
`library/` before a single word, and the tag `latest`. The first part is a registry only if it has a dot, a colon or upper case,
or is `localhost`: `zenith/x` is a path at docker.io, `zenith.example/x` is not.

A pattern is parsed in the same way, so a wildcard in its path can never match a registry:

- `*` is any text within one part of the path, `**` also across parts, `?` one character.
- In a registry `*` stays within one label: `*.example.com` matches `eu.example.com`, not `a.b.example.com`.
- Without a tag it means `latest`, as with Docker; but one that ends in `*` means every tag and every digest.
- If an image names a digest, the tag is ignored, as Docker does: only a pattern with that digest or with every tag matches.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DEFAULT_REGISTRY: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
_ANY: Final = "*"
#: Regular expressions of the wildcards in a path, in a registry, and in a tag or digest.
_IN_PATH: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
_IN_REGISTRY: Final = {"**": "[^.:]*", "*": "[^.:]*", "?": "[^.:]"}
_IN_TAG: Final = {"**": ".*", "*": ".*", "?": "."}
_WILDCARD: Final = re.compile(r"(\*\*|\*|\?)")
_PATTERN: Final = re.compile(
    r"(?:[A-Za-z0-9.*?-]+(?::[0-9*?]{1,5})?/)?[a-z0-9._*?-]+(?:/[a-z0-9._*?-]+)*(?::[\w.*?-]{1,128})?(?:@[\w+.*?-]+:[0-9a-f*?]+)?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image, or a pattern of images.

    Attributes:
        registry: host and port, in lower case.
        path: with `library/` if Docker adds it.
        tag: empty if only a digest is given.
        digest: empty if none is given.
    """

    registry: str
    path: str
    tag: str
    digest: str


def parse(text: str) -> Reference:
    """Return the parts of a reference or a pattern, with Docker's defaults filled in."""
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    registry, path = _split(head + slash + last)
    if registry in (DEFAULT_REGISTRY, "index.docker.io"):
        registry = DEFAULT_REGISTRY
        path = path if "/" in path or path.startswith("**") else f"library/{path}"
    if not colon and not digest:
        tag = _ANY if text.endswith(_ANY) else DEFAULT_TAG
    return Reference(registry, path, tag, digest)


def is_pattern(text: str) -> bool:
    """Whether a pattern can match anything at all."""
    return _PATTERN.fullmatch(text) is not None


def allows(patterns: Iterable[str], image: str) -> bool:
    """Whether one of these patterns matches an image."""
    reference = parse(image)
    return any(_matches(parse(pattern), reference) for pattern in patterns if is_pattern(pattern))


def _matches(pattern: Reference, image: Reference) -> bool:
    return (
        _like(pattern.registry, image.registry, _IN_REGISTRY)
        and _like(pattern.path, image.path, _IN_PATH)
        and _same_version(pattern, image)
    )


def _same_version(pattern: Reference, image: Reference) -> bool:
    if pattern.digest:
        return _like(pattern.digest, image.digest, _IN_TAG)
    if image.digest:
        return pattern.tag == _ANY
    return _like(pattern.tag, image.tag, _IN_TAG)


def _split(name: str) -> tuple[str, str]:
    """Return registry and path of a name without tag and digest."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return first.lower(), rest
    return DEFAULT_REGISTRY, name


def _like(pattern: str, text: str, wildcards: dict[str, str]) -> bool:
    expression = "".join(wildcards.get(part) or re.escape(part) for part in _WILDCARD.split(pattern))
    return re.fullmatch(expression, text) is not None
