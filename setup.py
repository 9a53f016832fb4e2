"""What pyproject.toml cannot say about the wheel: its packages are found, and folders beside them become part of one.

Templates, static files, documents and zenith_worker go into the package zenith_site, so that the wheel puts nothing into
site-packages whose name another distribution may have (docs/decisions/0021-installed.md).
"""

from setuptools import find_packages, setup

OUTSIDE = {
    "zenith_site._resources.docs": "docs",
    "zenith_site._resources.static": "static",
    "zenith_site._resources.templates": "templates",
    "zenith_site._bundled.zenith_worker": "zenith_worker",
    "zenith_site._bundled.zenith_worker.wire": "zenith_worker/wire",
}

setup(
    packages=[*find_packages(include=["zenith_site*", "tasks_app*", "infra_app*"]), *OUTSIDE],
    package_dir=OUTSIDE,
    package_data={
        "": ["*.sql"],
        "zenith_site._resources.docs": ["*.md"],
        "zenith_site._resources.static": ["**/*"],
        "zenith_site._resources.templates": ["**/*"],
        "zenith_site._bundled.zenith_worker": ["py.typed"],
        "zenith_site._bundled.zenith_worker.wire": ["lua/*.lua", "lua/earlier/*.lua"],
    },
    include_package_data=False,
)
