"""A batch on a Dask cluster on this machine: a scheduler, and two workers in processes of their own."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import hanging_worker
import pytest
import torch
from distributed import LocalCluster
from distributed.scheduler import KilledWorker
from small_case import (
    BRAIN_MASK,
    GROUPS,
    QUICK_BATCH,
    WIDTH,
    difference_network,
    write_patient,
    write_weights,
)

from lesionwise import cli
from lesionwise.batch import cluster as cluster_module
from lesionwise.batch.cases import Extras
from lesionwise.batch.layouts import find_cases
from lesionwise.challenge_layout import SEGMENTATION, TIME2
from lesionwise.engine import Settings
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.lesions import OperatingPoint
from lesionwise.preprocessing.recipe import Recipe
from lesionwise.weights import MANIFEST, save_weights

NAMES = ["a", "b", "c", "d", "e"]
LACKS_A_SCAN = "b"


@pytest.fixture
def scheduler():
    """Return a scheduler without workers on loopback."""
    with LocalCluster(
        n_workers=0, processes=True, host="127.0.0.1", dashboard_address=":0", silence_logs=50
    ) as started:
        yield started


@contextmanager
def worker(address, *more, **environment):
    """Run a worker; it is killed at the end."""
    command = [
        *(sys.executable, "-m", "distributed.cli.dask_worker", address),
        *("--no-nanny", "--no-dashboard", "--nthreads", "1", *map(str, more)),
    ]
    running = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def wait_until(true, seconds=120):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Return a folder of patients, of whom one lacks a scan."""
    folder = tmp_path_factory.mktemp("cohort")
    first = write_patient(folder / NAMES[0])
    for name in NAMES[1:]:
        shutil.copytree(first, folder / name)
    (folder / LACKS_A_SCAN / TIME2).unlink()
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def batch(cohort, weights, capfd):
    """Return a function that runs the command: (exit code, standard output, standard error)."""

    def run(out, *more):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, ["batch", cohort, out, *QUICK_BATCH, "--weights", weights, *more])))
        return ended.value.code, *capfd.readouterr()

    return run


def masks(out):
    return {path.parent.name: path.read_bytes() for path in out.glob(f"*/{SEGMENTATION}")}


def rows(out):
    with (out / "cohort.csv").open() as file:
        return [(row["case"], row["state"]) for row in csv.DictReader(file)]


def test_a_lost_workers_case_is_done_by_another_and_masks_are_those_of_one_machine(
    batch, scheduler, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # relative names mean the same to workers, wherever they run
    batch("single")
    marker = tmp_path / "hangs"
    preload = ("--preload", hanging_worker.__file__)
    with (
        worker(scheduler.scheduler_address, *preload, **{hanging_worker.MARKER: str(marker)}) as hanging,
        worker(scheduler.scheduler_address),
    ):
        wait_until(lambda: len(scheduler.scheduler.workers) == 2)

        def kill_in_mid_case():
            wait_until(marker.exists)
            hanging.kill()

        killer = threading.Thread(target=kill_in_mid_case)
        killer.start()
        code, out, err = batch("cluster", "--scheduler", scheduler.scheduler_address)
        killer.join()
        assert code == 1
        assert "4 cases done, 0 kept from before, 1 failed" in out
        assert err.splitlines()[-1].endswith(f"1 of 5 cases failed: {LACKS_A_SCAN}")
        assert rows(Path("cluster")) == [
            (name, "failed" if name == LACKS_A_SCAN else "done") for name in NAMES
        ]
        assert marker.read_text() in masks(Path("cluster"))
        assert masks(Path("cluster")) == masks(Path("single"))
        assert len(masks(Path("cluster"))) == 4
        assert not list(Path("cluster").rglob("*.part"))

        code, out, _ = batch("cluster", "--scheduler", scheduler.scheduler_address)
        assert "0 cases done, 4 kept from before, 1 failed" in out
    # One machine and a cluster keep each other's results.
    _, out, _ = batch("cluster")
    assert "0 cases done, 4 kept from before, 1 failed" in out


def test_with_device_cuda_a_worker_that_has_a_gpu_is_waited_for(batch, scheduler, tmp_path, monkeypatch):
    asked = []

    def refused(self, function, *arguments, resources, **more):
        asked.append((function, resources))
        raise KeyboardInterrupt

    monkeypatch.setattr("distributed.Client.submit", refused)
    code, _, err = batch(tmp_path / "out", "--device", "cuda", "--scheduler", scheduler.scheduler_address)
    assert asked == [(cluster_module.worker_computation, {"GPU": 1})]
    assert code == 130
    assert "interrupted" in err


@pytest.fixture
def item(cohort, tmp_path):
    """Return a case of the cohort."""
    _, cases = find_cases(cohort, tmp_path / "out", extras=Extras(brain_mask_name=BRAIN_MASK))
    return cases[0]


@pytest.fixture
def settings(weights):
    recipe = Recipe(bias_correction=False, denoising=False)
    return Settings(recipe=recipe, windows=Windows(64, 0), weights=weights, device="cpu", precision="fp32")


def test_a_case_that_was_finished_before_its_worker_was_lost_is_not_computed_again(item, settings):
    computation = cluster_module.worker_computation(settings)
    first = cluster_module.compute_on_worker(item, settings, computation, force=False)
    written = item.case.output.stat().st_mtime_ns
    again = cluster_module.compute_on_worker(item, settings, computation, force=False)
    assert (first.state, again.state) == ("done", "done")
    assert first.report["inputs_sha256"] == again.report["inputs_sha256"]
    assert item.case.output.stat().st_mtime_ns == written
    cluster_module.compute_on_worker(item, settings, computation, force=True)
    assert item.case.output.stat().st_mtime_ns > written


def test_a_mask_that_was_corrected_by_hand_is_left_by_a_worker(item, settings):
    computation = cluster_module.worker_computation(settings)
    cluster_module.compute_on_worker(item, settings, computation, force=False)
    item.case.output.write_bytes(b"corrected")
    result = cluster_module.compute_on_worker(item, settings, computation, force=False)
    assert result.state == "failed"
    assert "corrected by hand?" in result.error
    assert item.case.output.read_bytes() == b"corrected"
    assert cluster_module.compute_on_worker(item, settings, computation, force=True).state == "done"


def test_a_mask_that_is_corrected_while_a_worker_computes_its_case_is_left(item, settings, monkeypatch):
    def predict(*arguments):
        item.case.output.write_bytes(b"corrected")
        return predict_in_memory(*arguments)

    monkeypatch.setattr("lesionwise.pipeline.predict_in_memory", predict)
    computation = cluster_module.worker_computation(settings)
    result = cluster_module.compute_on_worker(item, settings, computation, force=False)
    assert result.error.endswith("no report of an earlier start tells of this; move it away, or use --force")
    assert item.case.output.read_bytes() == b"corrected"
    assert cluster_module.compute_on_worker(item, settings, computation, force=True).state == "done"


def test_a_worker_that_computes_otherwise_says_in_what_and_does_nothing(item, settings):
    computation = cluster_module.worker_computation(replace(settings, precision="bf16"))
    result = cluster_module.compute_on_worker(item, settings, computation, force=False)
    assert result.state == "failed"
    assert "precision float32 instead of bfloat16" in result.error
    assert not item.case.output.exists()


def test_a_worker_takes_weights_that_were_replaced_in_their_folder(settings, tmp_path):
    settings = replace(settings, weights=write_weights(tmp_path / "weights"))
    before = cluster_module.worker_computation(settings)
    network = difference_network()
    with torch.no_grad():
        network.head.bias[1] = -3
    save_weights(tmp_path / "weights", network, WIDTH, GROUPS, OperatingPoint(0.25), {})
    after = cluster_module.worker_computation(settings)
    stated = json.loads((tmp_path / "weights" / MANIFEST).read_text())["sha256"]
    assert before["weights_sha256"] != stated
    assert after["weights_sha256"] == stated
    assert after["settings"]["threshold"] == 0.25


def test_a_lost_scheduler_ends_the_batch_and_the_cases_that_are_left_have_not_failed(batch, tmp_path):
    file, marker = tmp_path / "scheduler.json", tmp_path / "hangs"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    running = subprocess.Popen(
        [*command, "--no-dashboard", "--scheduler-file", file], stderr=subprocess.DEVNULL
    )

    def kill_in_mid_case():
        wait_until(marker.exists)
        running.kill()

    killer = threading.Thread(target=kill_in_mid_case)
    try:
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        preload = ("--preload", hanging_worker.__file__)
        with worker(address, *preload, **{hanging_worker.MARKER: str(marker)}):
            killer.start()
            code, _, err = batch(tmp_path / "out", "--scheduler", address)
            killer.join()
    finally:
        running.kill()
        running.wait()
    assert code == 5
    assert err.splitlines()[-1] == f"lesionwise: {cluster_module.SCHEDULER_LOST}"
    assert rows(tmp_path / "out") == [(name, "not run") for name in NAMES]


def test_a_case_that_no_worker_survives_leaves_no_folder(item, settings, monkeypatch):
    def lost(*_, **__):
        item.folder.mkdir(parents=True)
        future = Future()
        future.set_exception(KilledWorker("case", None, 3))
        return future

    monkeypatch.setattr("distributed.as_completed", lambda futures, loop: futures)
    (result,) = cluster_module._computed(Mock(submit=lost), [item], settings, {}, {}, force=False)
    assert (result.name, result.state) == (item.name, "failed")
    assert not item.folder.exists()


def test_a_case_that_no_worker_survives_has_failed_in_words():
    lost = KilledWorker("case", None, 3)
    assert "workers were lost" in cluster_module.lost_in_words(lost)
    assert "the cluster lost it: unexpected ValueError: odd" in cluster_module.lost_in_words(
        ValueError("odd")
    )


def test_where_no_scheduler_answers_it_is_one_line_and_code_5(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECTION_SECONDS", 1)
    code, _, err = batch(tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", "-q")
    assert code == 5
    assert err.startswith("lesionwise: tcp://127.0.0.1:9: no Dask scheduler answers")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "address",
    [
        *(
            "foo",
            "http://x",
            "http://127.0.0.1:8786",
            "tcp://",
            "tcp://127.0.0.1",
            "tcp://:8786",
            "://a:8786",
        ),
        *(
            "tcp://a:b",
            "tcp://a:0",
            "tcp://a:65536",
            "tcp://a:8786/",
            "tcp://::1:8786",
            "tcp://[::1]",
            "a b:8786",
        ),
    ],
)
def test_what_is_no_address_is_told_without_a_connection(batch, tmp_path, monkeypatch, address):
    monkeypatch.setattr("distributed.Client.__init__", lambda *_, **__: pytest.fail("connected"))
    code, _, err = batch(tmp_path / "out", "--scheduler", address, "-q")
    assert code == 5
    assert err.startswith(f"lesionwise: {address}: this is no address of a Dask scheduler")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8786", "tcp://a.b:8786", "tls://[fe80::1%eth0]:1", "ucx://a-b:9"]
)
def test_what_dask_takes_is_an_address(address):
    assert cluster_module._is_address(address)


@pytest.mark.parametrize("address", ["tls://127.0.0.1:1", "ucx://127.0.0.1:1"])
def test_a_way_to_connect_that_is_not_set_up_is_told_at_once(cohort, weights, tmp_path, address):
    given = ["batch", cohort, tmp_path / "out", *QUICK_BATCH, "--weights", weights, "--scheduler", address]
    begin = time.monotonic()
    ended = subprocess.run(  # a process of its own: nothing may be waited for at its end
        [sys.executable, "-m", "lesionwise.cli", *map(str, given)], capture_output=True, text=True
    )
    assert time.monotonic() - begin < cluster_module.CONNECTION_SECONDS
    assert ended.returncode == 5
    assert ended.stderr.splitlines()[-1].startswith(
        f"lesionwise: {address}: Dask cannot connect in this way ("
    )
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_without_dask_it_says_what_to_install(batch, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = batch(tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", "-q")
    assert code == 2
    assert "lesionwise[cluster]" in err


def test_prefetch_is_for_one_machine(batch, tmp_path):
    code, _, err = batch(tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", "--prefetch")
    assert code == 2
    assert "--prefetch" in err
