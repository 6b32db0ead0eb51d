"""Control groups that a test makes up."""

from pathlib import Path


def made_groups(folder: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write what a process would find in /proc/self/cgroup, and files below the mount; return both places."""
    (folder / "self").write_text(membership)
    for name, content in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "self", folder / "mount"
