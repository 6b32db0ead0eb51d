"""The cases of a folder: each layout is found, also by itself, and results have their place."""

import json

import pytest
from closed_folder import close

from lesionwise.batch.bids import unpaired_subjects, write_description
from lesionwise.batch.cases import Extras
from lesionwise.batch.layouts import closed_folders, find_cases
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.errors import InputError, UsageError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_challenges_folders_are_found_also_those_that_lack_a_scan(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    touch(source / "b" / TIME1, source / "b" / TIME2, source / "a" / TIME2, source / "none" / "notes.txt")
    touch(source / ".hidden" / TIME1, source / "list.csv")
    layout, cases = find_cases(source, target)
    assert layout == "challenge"
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].case.time1 == source / "a" / TIME1  # missing: told when the case is read
    assert cases[1].case.outputs == [target / "b/segmentation.nii.gz", target / "b/report.json"]
    assert cases[1].case.brain_mask is None


def test_a_folder_that_may_not_be_looked_into_is_passed_over_and_named(tmp_path, monkeypatch):
    touch(tmp_path / "a" / TIME1, tmp_path / "lost+found" / TIME1, tmp_path / "list.csv")
    close(monkeypatch, tmp_path / "lost+found")
    _, cases = find_cases(tmp_path, tmp_path / "out")
    assert [case.name for case in cases] == ["a"]
    assert closed_folders(tmp_path) == ["lost+found"]
    (tmp_path / "a" / TIME1).unlink()
    with pytest.raises(
        InputError, match=r"no case found \(there is no permission to look into lost\+found\)"
    ):
        find_cases(tmp_path, tmp_path / "out")


def test_scans_that_are_links_to_what_was_not_fetched_are_cases(tmp_path):
    for folder, names in (("challenge/a", (TIME1, TIME2)), ("flat", ("a_time01.nii.gz", "a_time02.nii.gz"))):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).symlink_to("../.git/annex/objects/key")
    (tmp_path / "flat/folder_time01.nii.gz").mkdir()
    for layout in ("challenge", "flat"):
        found, (case,) = find_cases(tmp_path / layout, tmp_path / "out")
        assert (found, case.name) == (layout, "a")


def test_extras_add_a_map_and_a_given_brain_mask(tmp_path):
    touch(tmp_path / "a" / TIME1)
    _, (case,) = find_cases(tmp_path, tmp_path / "out", extras=Extras(True, "brain.nii.gz", True))
    assert case.case.probabilities == tmp_path / "out/a/probabilities.nii.gz"
    assert case.case.brain_mask == tmp_path / "a/brain.nii.gz"
    assert case.case.page == tmp_path / "out/a/report.html"


def test_pairs_of_files_are_named_by_what_they_share(tmp_path):
    touch(tmp_path / "p1_flair_time01.nii.gz", tmp_path / "p1_flair_time02.nii.gz")
    touch(tmp_path / "p2_time02_flair.nii", tmp_path / "p3_flair.nii.gz", tmp_path / "p4_time01.txt")
    layout, cases = find_cases(tmp_path, tmp_path / "out")
    assert layout == "flat"
    assert [case.name for case in cases] == ["p1_flair", "p2_flair"]
    assert cases[0].case.time2 == tmp_path / "p1_flair_time02.nii.gz"
    assert cases[1].case.time1 == tmp_path / "p2_time01_flair.nii"
    assert cases[0].folder == tmp_path / "out/p1_flair"


@pytest.mark.parametrize("dots", [".", "..", "_.."])
def test_a_pair_whose_names_share_dots_alone_stays_below_the_results(tmp_path, dots):
    touch(tmp_path / f"_time01{dots}.nii.gz", tmp_path / f"_time02{dots}.nii.gz")
    _, (case,) = find_cases(tmp_path, tmp_path / "out")
    assert case.name == "case"
    assert case.folder == tmp_path / "out/case"


def test_the_ending_does_not_part_a_pair(tmp_path):
    touch(tmp_path / "a_time01.nii", tmp_path / "a_time02.nii.gz")
    touch(tmp_path / "b_time02.nii", tmp_path / "b_time01.nii.gz")
    _, cases = find_cases(tmp_path, tmp_path / "out")
    assert [(case.name, case.case.time1.name, case.case.time2.name) for case in cases] == [
        ("a", "a_time01.nii", "a_time02.nii.gz"),
        ("b", "b_time01.nii.gz", "b_time02.nii"),
    ]


def test_two_scans_of_one_time_are_refused(tmp_path):
    touch(tmp_path / "p_time01.nii.gz", tmp_path / "p_time01.nii", tmp_path / "p_time02.nii")
    with pytest.raises(InputError, match=r"p_time01.nii and .*/p_time01.nii.gz: two scans of one time"):
        find_cases(tmp_path, tmp_path / "out")


def test_two_cases_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "p_time01.nii.gz", tmp_path / "_p_time01.nii.gz")
    with pytest.raises(InputError, match="two cases would be named p"):
        find_cases(tmp_path, tmp_path / "out")


def flair(folder, subject, session, rest="FLAIR", ending=".nii.gz"):
    path = folder / f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_{rest}{ending}"
    touch(path)
    return path


def test_sessions_of_a_bids_dataset_are_paired_one_after_the_other(tmp_path):
    scans = [flair(tmp_path, "01", session) for session in ("1", "2", "4")]
    touch(tmp_path / "sub-01/ses-3/anat/sub-01_ses-3_T1w.nii.gz")
    flair(tmp_path, "02", "1")  # one session: nothing to compare with
    layout, cases = find_cases(tmp_path, tmp_path / "out")
    assert layout == "bids"
    assert [case.name for case in cases] == ["sub-01_ses-2", "sub-01_ses-4"]
    assert [(case.case.time1, case.case.time2) for case in cases] == [tuple(scans[:2]), tuple(scans[1:])]
    assert cases[0].case.outputs == [
        tmp_path / "out/sub-01/ses-2/anat/sub-01_ses-2_desc-newLesions_mask.nii.gz",
        tmp_path / "out/sub-01/ses-2/report.json",
    ]
    assert not any(case.problem for case in cases)
    assert unpaired_subjects(tmp_path) == ["sub-02"]
    _, cases = find_cases(tmp_path, tmp_path / "out", extras=Extras(report=True))
    assert cases[0].case.page == tmp_path / "out/sub-01/ses-2/report.html"
    assert len(cases[0].case.outputs) == 3  # the table is written once


def test_a_session_that_may_not_be_looked_into_is_not_skipped(tmp_path, monkeypatch):
    scans = [flair(tmp_path, "01", session) for session in ("1", "2", "3")]
    close(monkeypatch, tmp_path / "sub-01/ses-2")
    _, cases = find_cases(tmp_path, tmp_path / "out")
    # ses-1 and ses-3 are no pair: both cases fail when the scan of ses-2 is read.
    assert [(case.case.time1, case.case.time2) for case in cases] == [tuple(scans[:2]), tuple(scans[1:])]


def test_sessions_follow_each_other_as_their_numbers_do(tmp_path):
    baseline, early, late = (flair(tmp_path, "01", session) for session in ("M0", "M6", "M12"))
    _, cases = find_cases(tmp_path, tmp_path / "out")
    assert [case.name for case in cases] == ["sub-01_ses-M6", "sub-01_ses-M12"]
    assert [(case.case.time1, case.case.time2) for case in cases] == [(baseline, early), (early, late)]


def test_of_several_flairs_in_a_session_the_ones_named_alike_are_a_pair(tmp_path):
    first = flair(tmp_path, "01", "1", "acq-3D_FLAIR")
    flair(tmp_path, "01", "1", "acq-2D_FLAIR")
    second = flair(tmp_path, "01", "2", "acq-3D_FLAIR")
    _, (case,) = find_cases(tmp_path, tmp_path / "out")
    assert (case.case.time1, case.case.time2) == (first, second)
    flair(tmp_path, "01", "2", "acq-2D_FLAIR")
    _, (case,) = find_cases(tmp_path, tmp_path / "out")
    assert case.problem.startswith(
        "ses-1 has 2 FLAIRs and ses-2 has 2, and which belong together is not clear"
    )


@pytest.mark.parametrize(
    ("earlier", "later", "advice"),
    [
        (("run-1", "run-2"), ("run-1", "run-2"), "keep one run of each"),  # named alike already
        (("acq-2D", "acq-3D"), ("run-1", "run-2"), "keep one of each, or name the pair alike"),
    ],
)
def test_where_no_pair_is_clear_the_advice_can_be_followed(tmp_path, earlier, later, advice):
    for session, names in (("1", earlier), ("2", later)):
        for name in names:
            flair(tmp_path, "01", session, f"{name}_FLAIR")
    _, (case,) = find_cases(tmp_path, tmp_path / "out")
    assert case.problem.endswith(f"; {advice}")


def test_a_bids_dataset_may_hold_nifti_without_gzip(tmp_path):
    scans = [
        flair(tmp_path, "01", session, ending=ending) for session, ending in (("1", ".nii"), ("2", ".nii.gz"))
    ]
    touch(tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.bak")
    flair(tmp_path, "01", "2", "acq-2D_FLAIR")  # named otherwise than the scan of ses-1
    _, (case,) = find_cases(tmp_path, tmp_path / "out")
    assert (case.case.time1, case.case.time2, case.problem) == (*scans, "")
    assert unpaired_subjects(tmp_path) == []


def test_the_bids_description_says_that_it_is_a_derivative(tmp_path):
    write_description(tmp_path)
    description = json.loads((tmp_path / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "lesionwise"
    assert {"Name", "BIDSVersion"} <= set(description)
    assert "cohort.*" in (tmp_path / ".bidsignore").read_text()
    (tmp_path / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "lesionwise"}]}')
    write_description(tmp_path)  # that of an earlier start
    assert json.loads((tmp_path / "dataset_description.json").read_text()) == description


@pytest.mark.parametrize(
    "text",
    [
        '{"Name": "Raw scans", "BIDSVersion": "1.8.0"}',
        '{"GeneratedBy": [{"Name": "fmriprep"}, {"Name": "lesionwise"}]}',
        '{"GeneratedBy": "lesionwise"}',
        "[1]",
        "no JSON",
    ],
)
def test_the_description_of_another_dataset_is_left_and_named(tmp_path, text):
    (tmp_path / "dataset_description.json").write_text(text)
    with pytest.raises(UsageError, match="name another folder"):
        write_description(tmp_path)
    assert (tmp_path / "dataset_description.json").read_text() == text
    assert not (tmp_path / ".bidsignore").exists()


def test_what_a_user_wants_bids_to_ignore_is_left(tmp_path):
    (tmp_path / ".bidsignore").write_text("mine\n")
    for _start in (1, 2):
        write_description(tmp_path)
    assert (tmp_path / ".bidsignore").read_text() == "mine\n"


def test_results_do_not_go_into_the_bids_dataset_that_is_read(tmp_path):
    for session in ("1", "2"):
        flair(tmp_path, "01", session)
    with pytest.raises(UsageError, match="derivatives/lesionwise"):
        find_cases(tmp_path, tmp_path / "sub-01/..")


@pytest.mark.parametrize(
    ("layout", "extras", "error", "words"),
    [
        ("bids", Extras(), InputError, "no case found"),
        ("flat", Extras(brain_mask_name="brain.nii.gz"), UsageError, "--brain-mask-name"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, layout, extras, error, words):
    touch(tmp_path / "p_time01.nii.gz", tmp_path / "p_time02.nii.gz")
    with pytest.raises(error, match=words):
        find_cases(tmp_path, tmp_path / "out", layout, extras)


def test_a_source_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        find_cases(tmp_path / "missing", tmp_path / "out")
