"""A short run of `make fuzz`, the same inputs each time, and that it would see what it looks for."""

import fuzz_headers
import pytest


def test_a_hundred_hostile_headers():
    fuzz_headers.fuzz(100)


def test_a_fault_would_be_seen(monkeypatch):
    monkeypatch.setattr(fuzz_headers, "read_mask", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz_headers.fuzz(5)


def test_only_the_named_fields_change():
    fields = [("pixdim3", 2.5), ("qform_code", 0)]
    assert fuzz_headers.spoilt([], [], False) == fuzz_headers.SOUND
    content = fuzz_headers.spoilt(fields, [], False)
    changed = sum(a != b for a, b in zip(content, fuzz_headers.SOUND, strict=True))
    assert 0 < changed <= 4 + 2
