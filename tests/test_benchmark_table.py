"""The table of ratios can be read back, and flags what became worse by more than a fifth."""

from benchmarks.table import Row, cpu_seconds_in_turn, markdown, merged, regressions


def test_worse_by_more_than_a_fifth_is_flagged():
    stored = markdown([Row("network", 6.0, bar=6), Row("volume", 2.0, bar=2.5, growth=True)])
    assert "| network | 6 | >= 6 | yes |" in stored
    assert regressions([Row("network", 5.1), Row("volume", 2.3, growth=True), Row("new", 1.0)], stored) == []
    worse = regressions([Row("network", 4.9), Row("volume", 2.5, growth=True)], stored)
    assert worse == ["network: 6 before, 4.9 now", "volume: 2 before, 2.5 now"]


def test_ways_run_in_turn():
    order = []
    cpu_seconds_in_turn(lambda: order.append("a"), lambda: order.append("b"), repeats=2)
    assert order == ["a", "b", "a", "b"]


def test_measured_again_a_row_replaces_the_stored_one_and_others_stay():
    stored = markdown([Row("network", 6.0, bar=6), Row("seconds", 1234.0, growth=True)])
    now = merged(stored, markdown([Row("added", 1.0), Row("network", 7.0, bar=6)]))
    assert [line for line in now.splitlines() if line.startswith(("| a", "| n", "| s"))] == [
        "| network | 7 | >= 6 | yes |",
        "| seconds | 1.23e+03 |  |  |",
        "| added | 1 |  |  |",
    ]
    assert merged("", stored) == stored
    assert regressions([Row("seconds", 1500.0, growth=True)], now) == [
        "seconds: 1.23e+03 before, 1.5e+03 now"
    ]
