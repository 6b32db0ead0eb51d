"""What computed a result: the program itself and the packages that every report names."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

REPORTED_PACKAGES = ("torch", "SimpleITK", "nibabel", "numpy", "scipy", "deepbet")


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages whose numbers a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in REPORTED_PACKAGES}


@cache
def program_sha256() -> str:
    """Return the sha256 over this package's modules, their names and their text, in the order of the names.

    Two states of the program may have one version number; what one of them computed is not what the other would.
    """
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for module in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        text = module.read_bytes()
        digest.update(f"{module.relative_to(folder).as_posix()} {len(text)}\n".encode() + text)
    return digest.hexdigest()
