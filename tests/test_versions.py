"""The sha256 of the program: of its modules, their names and nothing else."""

import hashlib
import shutil
from pathlib import Path

import lesionwise
from lesionwise import versions

PACKAGE = Path(lesionwise.__file__).parent


def sha256_of(folder, monkeypatch):
    monkeypatch.setattr(versions, "__file__", str(folder / "versions.py"))
    versions.program_sha256.cache_clear()
    told = versions.program_sha256()
    versions.program_sha256.cache_clear()
    return told


def test_two_modules_by_hand(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/c.py").write_text("y = 2\n")
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b/c.txt").write_text("no module")
    expected = hashlib.sha256(b"a.py 6\nx = 1\nb/c.py 6\ny = 2\n").hexdigest()
    assert sha256_of(tmp_path, monkeypatch) == expected
    (tmp_path / "b/c.py").rename(tmp_path / "b/d.py")
    assert sha256_of(tmp_path, monkeypatch) != expected


def test_a_copy_of_the_program_is_the_same_program_until_a_module_changes(tmp_path, monkeypatch):
    copy = shutil.copytree(PACKAGE, tmp_path / "elsewhere")
    there = sha256_of(copy, monkeypatch)
    assert there == sha256_of(PACKAGE, monkeypatch)
    (copy / "lesions.py").write_text((copy / "lesions.py").read_text() + "\n")
    assert sha256_of(copy, monkeypatch) != there
