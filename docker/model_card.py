"""Write the model card in Markdown from the weights' manifest: python docker/model_card.py weights/manifest.json.

What the weights are for and what they cannot do stands here; all that can change with a training stands in
the manifest.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADING = """\
# Model card: lesionwise, segmentation network

## What it is for

Marking the multiple-sclerosis lesions that are new in the second of two FLAIR scans of one patient, for research:
the task of the MSSEG-2 challenge. A mask is a proposal that a trained reader must check.

## What it is not for

It is no medical device and must not be used alone to diagnose or to decide on a treatment. It does not see
lesions that shrank or vanished, and scans that are not FLAIR, not of the head or not of adults are outside
what it was made for.

## What is known of these weights

From the manifest that is stored with them.

"""


def lines(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield a JSON value as a nested Markdown list."""
    indent = "  " * depth
    entries = value.items() if isinstance(value, dict) else ((None, entry) for entry in value)
    for key, entry in entries:
        label = f"{indent}- " + (f"{key}:" if key else "")
        if isinstance(entry, dict | list):
            yield label.rstrip()
            yield from lines(entry, depth + 1)
        else:
            yield f"{label} {entry}".replace("-  ", "- ")


def model_card(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    return HEADING + "\n".join(lines(manifest)) + "\n"


if __name__ == "__main__":
    sys.stdout.write(model_card(json.loads(Path(sys.argv[1]).read_bytes())))
