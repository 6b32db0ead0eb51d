"""The table of cases that a batch wrote."""

import csv


def rows(path):
    with path.open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}
