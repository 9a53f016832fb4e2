"""Image names are parsed as Docker parses them, and a pattern's path never matches a registry."""

from __future__ import annotations

import pytest

from infra_app.images import Reference, allows, is_pattern, parse

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zenith", Reference("docker.io", "library/zenith", "latest", "")),
        ("zenith:1.4", Reference("docker.io", "library/zenith", "1.4", "")),
        ("docker.io/zenith", Reference("docker.io", "library/zenith", "latest", "")),
        ("index.docker.io/zenith", Reference("docker.io", "library/zenith", "latest", "")),
        ("library/zenith", Reference("docker.io", "library/zenith", "latest", "")),
        ("ada/zenith", Reference("docker.io", "ada/zenith", "latest", "")),
        ("ada/team/zenith:x", Reference("docker.io", "ada/team/zenith", "x", "")),
        ("registry.example.com/zenith", Reference("registry.example.com", "zenith", "latest", "")),
        ("registry.example.com:5000/a/b:1", Reference("registry.example.com:5000", "a/b", "1", "")),
        ("registry:5000/zenith", Reference("registry:5000", "zenith", "latest", "")),
        ("localhost/zenith", Reference("localhost", "zenith", "latest", "")),
        ("Registry/zenith", Reference("registry", "zenith", "latest", "")),
        (f"zenith@{DIGEST}", Reference("docker.io", "library/zenith", "", DIGEST)),
        (f"r.example/zenith:1@{DIGEST}", Reference("r.example", "zenith", "1", DIGEST)),
        ("r.example:5000/zenith/*", Reference("r.example:5000", "zenith/*", "*", "")),
    ],
)
def test_what_is_left_out_is_filled_in_as_docker_does(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("pattern", "image", "allowed"),
    [
        # A wildcard in a path matches no registry.
        ("zenith*", "zenith.evil.example/x", False),
        ("zenith*", "zenith.evil.example/zenith", False),
        ("zenith*", "zenith:5000/x", False),
        ("zenith*", "zenith/x", False),
        ("*", "evil.example/x", False),
        ("**", "evil.example/x", False),
        ("**", "evil.example:5000/a/b", False),
        ("*/*", "evil.example/x", False),
        ("*/zenith", "evil.example/zenith", False),
        ("registry*/zenith", "registry.evil.example/zenith", False),
        ("localhost/*", "localhost.evil.example/x", False),
        # A path.
        ("zenith*", "zenith", True),
        ("zenith*", "zenith-worker", True),
        ("zenith*", "docker.io/library/zenith", True),
        ("*", "alpine", True),
        ("*", "ada/alpine", False),
        ("**", "ada/team/alpine:3", True),
        ("ada/*", "ada/zenith", True),
        ("ada/*", "ada/team/zenith", False),
        ("ada/**", "ada/team/zenith", True),
        ("ada/*", "bob/zenith", False),
        ("ada/*", "adam/zenith", False),
        ("ada/z?nith", "ada/zenith", True),
        ("ada/z?nith", "ada/z/nith", False),
        ("ada/zen.th", "ada/zenxth", False),
        # A registry.
        ("registry.example.com/zenith/*", "registry.example.com/zenith/worker:1.4", True),
        ("registry.example.com/zenith/*", "REGISTRY.example.com/zenith/worker", True),
        ("registry.example.com/zenith/*", "registry.example.com:5000/zenith/worker", False),
        ("registry.example.com/zenith/*", "registry-example.com/zenith/worker", False),
        ("registry.example.com/zenith/*", "zenith/worker", False),
        ("registry.example.com/*", "registry.example.com/a/b", False),
        ("registry.example.com/**", "registry.example.com/a/b", True),
        ("registry.example.com/**", "registry.example.com.evil.example/a/b", False),
        ("*.example.com/zenith", "eu.example.com/zenith", True),
        ("*.example.com/zenith", "a.eu.example.com/zenith", False),
        ("*.example.com/zenith", "evil.example/a.example.com/zenith", False),
        ("registry.example.com:*/zenith", "registry.example.com:5000/zenith", True),
        ("localhost/*", "localhost/x", True),
        # A tag.
        ("zenith", "zenith", True),
        ("zenith", "zenith:latest", True),
        ("zenith", "zenith:1.4", False),
        ("zenith:latest", "zenith", True),
        ("zenith:latest", "docker.io/library/zenith:latest", True),
        ("zenith:*", "zenith:1.4", True),
        ("zenith:*", "zenith", True),
        ("zenith:*", "zenith-x:1.4", False),
        ("zenith:1.*", "zenith:1.4", True),
        ("zenith:1.*", "zenith:2.0", False),
        ("zenith:1.*", "zenith", False),
        ("zenith:1.?", "zenith:1.4", True),
        ("registry.example.com/zenith:1.4", "registry.example.com/zenith:1.5", False),
        # A digest; Docker then ignores the tag.
        ("zenith:*", f"zenith@{DIGEST}", True),
        ("zenith:*", f"zenith:1.4@{DIGEST}", True),
        ("zenith:1.4", f"zenith:1.4@{DIGEST}", False),
        ("zenith", f"zenith@{DIGEST}", False),
        (f"zenith@{DIGEST}", f"zenith@{DIGEST}", True),
        (f"zenith@{DIGEST}", f"zenith:1.4@{DIGEST}", True),
        (f"zenith@{DIGEST}", f"zenith@{OTHER}", False),
        (f"zenith@{DIGEST}", "zenith", False),
        ("zenith@sha256:*", f"zenith@{OTHER}", True),
        ("zenith@sha256:*", "zenith:latest", False),
        # An invalid pattern matches nothing.
        ("", "zenith", False),
        ("zen[i]th", "zenith", False),
        ("https://registry.example.com/zenith", "registry.example.com/zenith", False),
    ],
)
def test_a_pattern_matches_by_registry_path_and_tag(pattern: str, image: str, allowed: bool) -> None:
    assert allows([pattern], image) is allowed


def test_one_pattern_of_many_is_enough_and_none_is_too_few() -> None:
    assert allows(["ada/*", "zenith:*"], "zenith:2")
    assert not allows([], "zenith")


@pytest.mark.parametrize("pattern", ["", "zen ith", "zen[i]th", "a//b", "/a", "a/", "http://a/b", "a:b:c", "-:"])
def test_what_can_match_nothing_is_known(pattern: str) -> None:
    assert not is_pattern(pattern)
