"""`lesionwise evaluate`: the challenge's measures of one prediction or of a cohort."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lesionwise.challenge_layout import GROUND_TRUTH, SEGMENTATION
from lesionwise.commands.options import FILE, FOLDER, debug_option, was_given
from lesionwise.commands.screen import complain, say
from lesionwise.errors import UsageError
from lesionwise.texts import visible

if TYPE_CHECKING:
    from lesionwise.overlap import Thresholds


@click.command("evaluate", context_settings={"show_default": True})
@click.argument("prediction_folder", type=FOLDER, required=False, metavar="[PRED_DIR")
@click.argument("truth_folder", type=FOLDER, required=False, metavar="TRUTH_DIR]")
@click.option("-i", "--prediction", type=FILE, help="One mask to evaluate.")
@click.option("-r", "--truth", type=FILE, help="The true mask, on the same grid.")
@click.option("-o", "--output", type=FILE, help="Of a cohort: CSV to write, one line a patient.")
@click.option("--json", "summary_file", type=FILE, help="Also write the result as JSON.")
@click.option("--prediction-name", default=SEGMENTATION, help="Mask in a folder PRED_DIR/PATIENT.")
@click.option("--truth-name", default=GROUND_TRUTH, help="Mask in a folder TRUTH_DIR/PATIENT.")
@click.option(
    "-v",
    "--minimal-volume",
    type=float,
    default=3.0,
    help="Lesions of that many mm3 or less are left out (always 3 where the truth is empty).",
)
@click.option("-x", "--alpha", type=float, default=0.10, help="More of a lesion has to be overlapped.")
@click.option("-y", "--beta", type=float, default=0.70, help="No more of what overlaps it may lie outside.")
@click.option("-z", "--gamma", type=float, default=0.65, help="Share of the overlap that is so tested.")
@debug_option
def command(
    prediction_folder: Path | None,
    truth_folder: Path | None,
    prediction: Path | None,
    truth: Path | None,
    output: Path | None,
    summary_file: Path | None,
    prediction_name: str,
    truth_name: str,
    minimal_volume: float,
    alpha: float,
    beta: float,
    gamma: float,
) -> None:
    """Measure masks against the truth as animaSegPerfAnalyzer does.

    \b
    evaluate -i PRED -r TRUTH                   prints all measures as JSON
    evaluate PRED_DIR TRUTH_DIR -o scores.csv   prints a summary, writes a line a patient

    Patients are matched by the name of their folder or file. A missing prediction counts as empty.
    """
    from lesionwise.overlap import Thresholds

    thresholds = Thresholds(minimal_volume, alpha, beta, gamma)
    if prediction and truth and not prediction_folder:
        if output:
            raise UsageError("-o is for a cohort; the measures of one pair are printed, or go to --json FILE")
        if was_given("prediction_name") or was_given("truth_name"):
            raise UsageError("--prediction-name and --truth-name are for two folders; leave them out")
        _evaluate_pair(prediction, truth, summary_file, thresholds)
    elif prediction_folder and truth_folder and not (prediction or truth):
        names = {"prediction_name": prediction_name, "truth_name": truth_name}
        _evaluate_cohort(prediction_folder, truth_folder, output, summary_file, names, thresholds)
    else:
        raise UsageError("give two masks (-i PRED -r TRUTH) or two folders (PRED_DIR TRUTH_DIR)")


def _evaluate_pair(
    prediction: Path, truth: Path, summary_file: Path | None, thresholds: "Thresholds"
) -> None:
    from lesionwise.cohort_summary import without_nan
    from lesionwise.evaluation_files import evaluate_files
    from lesionwise.files import check_outputs, text_writer, write_whole

    outputs = [summary_file] if summary_file else []
    check_outputs(outputs, [prediction, truth])
    scores = evaluate_files(prediction, truth, thresholds, _notify)
    text = json.dumps(without_nan(scores.measures), indent=2)
    write_whole({path: text_writer(f"{text}\n") for path in outputs})
    say(text, nowhere_else=not outputs)


def _evaluate_cohort(
    prediction_folder: Path,
    truth_folder: Path,
    output: Path | None,
    summary_file: Path | None,
    names: dict[str, str],
    thresholds: "Thresholds",
) -> None:
    from lesionwise.cohort_evaluation import evaluate_cohort, find_cohort, scores_table
    from lesionwise.cohort_summary import summarize, summary_lines
    from lesionwise.files import Writer, check_outputs, text_writer, write_whole

    cohort = find_cohort(prediction_folder, truth_folder, **names)
    check_outputs([path for path in (output, summary_file) if path], cohort.masks)

    results = evaluate_cohort(cohort, _notify, thresholds)
    summary = summarize(results, cohort)

    writers: dict[Path, Writer] = {}
    if output:
        writers[output] = text_writer(scores_table(results))
    if summary_file:
        writers[summary_file] = text_writer(json.dumps(summary.as_json(), indent=2) + "\n")
    write_whole(writers)
    say("\n".join(summary_lines(summary)), nowhere_else=not writers)


def _notify(line: str) -> None:
    complain(f"lesionwise: {visible(line)}")
