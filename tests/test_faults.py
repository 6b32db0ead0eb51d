"""Killed at any moment, disk full, input replaced while it is read: no half-written, mixed or stale output."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionwise.errors import InputError
from lesionwise.files import check_outputs, unchanged, write_whole

NAMES = ("mask", "map", "report")
SIZE = 300_000

WRITE = """
import sys, time
from pathlib import Path
from lesionwise.files import check_outputs, write_whole
folder, content = Path(sys.argv[1]), sys.argv[2].encode()
paths = [folder / name for name in ("mask", "map", "report")]
print("ready", flush=True)
while True:
    check_outputs(paths, [])
    write_whole({path: lambda file: file.write(content * 300_000) for path in paths})
"""


def write(folder, content):
    write_whole({folder / name: lambda file: file.write(content * SIZE) for name in NAMES})


@pytest.mark.parametrize("milliseconds", [0, 5, 12, 25, 42])
def test_killed_at_any_moment(tmp_path, milliseconds):
    write(tmp_path, b"a")
    process = subprocess.Popen([sys.executable, "-c", WRITE, tmp_path, "b"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(milliseconds / 1000)
    process.kill()
    process.communicate()
    found = {(tmp_path / name).read_bytes() for name in NAMES if (tmp_path / name).exists()}
    assert found <= {b"a" * SIZE} or found <= {b"b" * SIZE}  # whole, and all of one run

    check_outputs([tmp_path / name for name in NAMES], [])
    assert {path.name for path in tmp_path.iterdir()} <= set(NAMES)


@settings(max_examples=6)
@given(fails_at=st.integers(0, 5))
def test_a_crash_between_any_two_steps_never_mixes_old_and_new(tmp_path_factory, fails_at):
    folder = tmp_path_factory.mktemp("steps")
    write(folder, b"a")

    class Killed(BaseException):
        pass

    calls = []

    def step(real):
        def call(*arguments, **options):
            calls.append(real)
            if len(calls) > fails_at:
                raise Killed
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(os, "replace", step(os.replace))
        patch.setattr(Path, "rename", step(Path.rename))
        write(folder, b"b")
    found = {(folder / name).read_bytes() for name in NAMES if (folder / name).exists()}
    assert len(found) <= 1


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interruption_between_the_renames_leaves_all_old_or_all_new(tmp_path, monkeypatch, after):
    write(tmp_path, b"a")
    replaced = []

    def interrupted(source, target):
        if len(replaced) == after:
            monkeypatch.undo()
            raise SystemExit(143)
        replace(source, target)
        replaced.append(target)

    replace = os.replace
    monkeypatch.setattr(os, "replace", interrupted)
    with suppress(SystemExit):
        write(tmp_path, b"b")
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == dict.fromkeys(NAMES, (b"b" if after else b"a") * SIZE)


@pytest.mark.parametrize("name", [".", "/", ".."])
def test_a_folder_without_a_name_is_no_output(name):
    with pytest.raises(InputError, match="this output is a folder"):
        check_outputs([Path(name)], [])


@pytest.mark.parametrize("stuck", NAMES)
def test_where_an_old_file_cannot_be_replaced_all_are_as_they_were(tmp_path, monkeypatch, stuck):
    write(tmp_path, b"a")

    def sticky(real):
        def call(path, target):
            if stuck in (Path(path).name, Path(target).name):
                raise PermissionError(1, "Operation not permitted")
            return real(path, target)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", sticky(os.replace))
        patch.setattr(Path, "rename", sticky(Path.rename))
        with pytest.raises(InputError, match=rf"{stuck}: cannot be written \(Operation not permitted\)"):
            write(tmp_path, b"b")
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert kept == dict.fromkeys(NAMES, b"a" * SIZE)


def test_another_users_file_in_a_sticky_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "mask").touch()
    tmp_path.chmod(0o1777)
    check_outputs([tmp_path / "mask"], [])  # one's own
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "mask").stat().st_uid + 1)
    with pytest.raises(InputError, match="mask: this file is another user's"):
        check_outputs([tmp_path / "mask"], [])
    check_outputs([tmp_path / "new"], [])
    tmp_path.chmod(0o777)
    check_outputs([tmp_path / "mask"], [])


def test_long_names_and_links_to_themselves(tmp_path):
    long = tmp_path / ("\u75c5" * 82 + ".nii")  # 250 bytes of the 255 that are allowed
    (tmp_path / "loop").symlink_to("loop")
    check_outputs([long, tmp_path / "loop"], [])
    write_whole({path: lambda file: file.write(b"whole") for path in (long, tmp_path / "loop")})
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"whole"] * 2


def test_temporary_files_of_a_living_process_and_of_other_outputs_are_left(tmp_path):
    others = [tmp_path / name for name in (".map.0123abcd.part", ".mask.part", ".mask.nii.0123abcd.part")]
    stale = tmp_path / ".mask.0123abcd.part"
    for path in (*others, stale):
        path.touch()

    def meanwhile(file):
        check_outputs([tmp_path / "mask"], [])  # another process starts while this one writes
        file.write(b"whole")

    write_whole({tmp_path / "mask": meanwhile})
    assert (tmp_path / "mask").read_bytes() == b"whole"
    assert not stale.exists()
    assert all(path.exists() for path in others)


def test_a_folder_that_may_be_written_to_and_not_listed_takes_outputs(tmp_path, monkeypatch):
    def refuses(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuses)
        check_outputs([tmp_path / "mask"], [])
        write_whole({tmp_path / "mask": lambda file: file.write(b"whole")})
    assert [path.name for path in tmp_path.iterdir()] == ["mask"]


@pytest.mark.parametrize("change", ["replaced", "appended", "removed"])
def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path, change):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"before")

    def read():
        path.read_bytes()
        if change == "replaced":
            (tmp_path / "new").write_bytes(b"after.")
            (tmp_path / "new").replace(path)
        elif change == "appended":
            with path.open("ab") as file:
                file.write(b"more")
        else:
            path.unlink()

    with (
        pytest.raises(InputError, match=r"scan\.nii: this file changed while it was read"),
        unchanged([path]),
    ):
        read()


def test_an_input_that_stays_is_accepted_and_a_missing_one_left_to_who_reads_it(tmp_path):
    (tmp_path / "scan.nii").touch()
    with unchanged([tmp_path / "scan.nii", tmp_path / "none.nii"]):
        pass


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_ended_with_a_signal_no_temporary_file_is_left(tmp_path, name):
    # A shell that runs the tests in the background has them ignore SIGINT, and what they start, too.
    code = (
        "from lesionwise import cli; import signal; signal.signal(signal.SIGTERM, cli._terminate)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n" + WRITE
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, "b"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.02)
    process.send_signal(name)
    process.communicate(timeout=60)
    assert {path.name for path in tmp_path.iterdir()} <= set(NAMES)
