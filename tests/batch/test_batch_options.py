"""Options of `batch`: what is refused before any work, and which one is advised where no brain is found."""

import pytest

from lesionwise import cli
from lesionwise.errors import about
from lesionwise.preprocessing.brain_extraction import not_a_brain


def test_a_way_to_find_brains_that_are_given_is_refused(batch, tmp_path):
    code, _, err = batch("--brain-extraction", "atlas")  # beside --brain-mask-name of QUICK_BATCH
    assert code == 2
    assert "--brain-mask-name); leave one of them out" in err
    assert not (tmp_path / "out").exists()


def no_brain(*_):
    with about("time 1"):
        raise not_a_brain("no brain was found")


def test_where_no_brain_is_found_the_challenges_layout_advises_its_own_option(
    cohort, weights, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", no_brain)
    with pytest.raises(SystemExit):
        cli.main(list(map(str, ["batch", cohort, tmp_path / "out", "--weights", weights, "--device", "cpu"])))
    found = "time 1: brain extraction failed: no brain was found; check the scans"
    assert f"lesionwise: a: {found} or give --brain-mask-name NAME\n" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--scheduler", "--brain-mask-name"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_option_without_a_value_is_refused(batch, tmp_path, option, value):
    code, _, err = batch(option, value)
    assert (code, err.count("\n")) == (2, 1)
    assert f"'{option}': it is empty" in err
    assert not (tmp_path / "out").exists()


def test_weights_that_cannot_be_used_end_the_batch_with_their_code_and_leave_nothing(batch, tmp_path):
    code, _, err = batch("--weights", tmp_path)
    assert code == 5
    assert err.count("\n") <= 2
    assert not (tmp_path / "out").exists()


def test_where_no_brain_is_found_other_layouts_advise_the_case_alone(
    dataset, weights, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", no_brain)
    with pytest.raises(SystemExit):
        cli.main(
            list(map(str, ["batch", dataset, tmp_path / "out", "--weights", weights, "--device", "cpu"]))
        )
    err = capfd.readouterr().err
    assert "check the scans or segment this case alone with --brain-mask FILE\n" in err
