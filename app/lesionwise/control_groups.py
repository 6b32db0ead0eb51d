"""The control groups that this process is in: where SLURM, systemd and containers put its limits."""

from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def own_groups(controller: str, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> Iterator[Path]:
    """Yield the folders of the process's groups and of those above, which limit it too, for "cpu" or "memory".

    `membership` names the groups, `mount` is where their folders are: one tree in version 2, one for each controller
    in version 1. Some of the folders may not exist.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            trees = [mount, mount / "unified"]
        elif controller in controllers.split(","):
            trees = [mount / controllers, mount / controller]
        else:
            continue
        for tree in trees:
            folder = tree / group.lstrip("/")
            # In a container the path may be the host's, and missing here: then the tree's own folder is the group.
            yield from (place for place in [folder, *folder.parents] if place.is_relative_to(tree))
