"""A folder that this user may not look into, such as lost+found; simulated, because root may look everywhere."""

import errno
import os
from pathlib import Path


def close(monkeypatch, folder):
    """Let nothing in `folder` be found or listed, as below a folder of another user with mode 700."""

    def refuses(call, of_the_folder_itself, follows_links):
        def called(path=".", *arguments, **options):
            if not isinstance(path, int):
                place = Path(os.path.realpath(path) if follows_links else os.fsdecode(path))
                if folder in place.parents or (place == folder and of_the_folder_itself):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *arguments, **options)

        return called

    monkeypatch.setattr(os, "lstat", refuses(os.lstat, of_the_folder_itself=False, follows_links=False))
    monkeypatch.setattr(os, "stat", refuses(os.stat, of_the_folder_itself=False, follows_links=True))
    for name in ("scandir", "listdir"):
        monkeypatch.setattr(
            os, name, refuses(getattr(os, name), of_the_folder_itself=True, follows_links=True)
        )
