"""One batch at a time writes to a folder: what holds the lock, what does not, and what is in its place."""

import errno
import os

import pytest

from lesionwise.batch import computer as computer_module
from lesionwise.batch.lock import LOCK, alone_in
from lesionwise.errors import InputError, UsageError
from lesionwise.pipeline import finish_case


def test_a_batch_into_a_folder_that_another_writes_to_is_refused(batch, tmp_path, monkeypatch):
    meanwhile = []

    def finish(case, *arguments):
        if not meanwhile:
            meanwhile.append(batch("--quiet", "--force"))
        return finish_case(case, *arguments)

    monkeypatch.setattr(computer_module, "finish_case", finish)
    _, out, _ = batch()
    ((code, told, err),) = meanwhile
    assert (code, told) == (2, "")
    assert err.splitlines()[-1].startswith(
        f"lesionwise: {tmp_path / 'out'}: another batch writes to this folder"
    )
    assert "2 cases done" in out
    assert not (tmp_path / "out" / LOCK).exists()
    (tmp_path / "out" / LOCK).touch()  # of a start that was killed
    assert "2 kept from before" in batch()[1]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_place_of_the_lock_is_not_followed(batch, tmp_path, there):
    (tmp_path / "out").mkdir()
    if there:
        (tmp_path / "scores.csv").write_text("patient,score")
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "scores.csv")
    code, _, err = batch()
    assert (code, err.count("\n")) == (3, 1)
    assert err.startswith(f"lesionwise: {tmp_path / 'out' / LOCK}: this is a link")
    assert (tmp_path / "scores.csv").exists() == there
    assert not there or (tmp_path / "scores.csv").read_text() == "patient,score"


def test_what_is_no_file_in_the_place_of_the_lock_is_refused_and_what_a_file_holds_stays(tmp_path):
    lock = tmp_path / LOCK
    os.mkfifo(lock)
    with pytest.raises(InputError, match="no file"), alone_in(tmp_path):
        pass
    lock.unlink()
    lock.write_text("by somebody")
    with alone_in(tmp_path):
        assert lock.read_text() == "by somebody"


def test_the_lock_of_another_user_is_one_and_one_that_was_left_is_none(tmp_path, monkeypatch):
    def anothers(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *mode)

    opened = os.open
    with alone_in(tmp_path), monkeypatch.context() as patch:
        patch.setattr("lesionwise.batch.lock.os.open", anothers)
        with pytest.raises(UsageError, match="another batch writes"), alone_in(tmp_path):
            pass
    monkeypatch.setattr("lesionwise.batch.lock.os.open", anothers)
    with (
        pytest.raises(InputError, match="Permission denied"),
        alone_in(tmp_path),
    ):  # none there, and none can be made
        pass
    (tmp_path / LOCK).touch()
    with alone_in(tmp_path):
        pass


def test_where_there_are_no_locks_a_batch_goes_on(batch, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)
    assert "2 cases done" in batch()[1]
