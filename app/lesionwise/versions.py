"""What computed a result: the packages that every report names."""

import platform
from importlib.metadata import version

REPORTED_PACKAGES = ("torch", "SimpleITK", "nibabel", "numpy", "scipy", "deepbet")


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages whose numbers a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in REPORTED_PACKAGES}
