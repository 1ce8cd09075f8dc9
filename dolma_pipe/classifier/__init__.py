"""Train a fastText classifier from labelled texts, and say how good it is on texts that it never saw.

Labels come with the examples (JSON lines with a text and a label; the csv of Jigsaw's toxic comments), or from where
a text lies: `documents: {good: data/wikipedia, random: data/crawl}` makes a classifier of good against random text, as
DCLM (Li et al. 2024) and the Pile (Gao et al. 2020) did for quality; `{name: quality, model: FILE}` then tags with it.

A text's side (training, calibration, held out) is decided by a hash of its letters, so copies of a text are never on
two sides; the threshold is chosen on the calibration side, and every figure is of the held-out side.
"""

from __future__ import annotations

from dolma_pipe.classifier.config import ClassifierConfig as ClassifierConfig
from dolma_pipe.classifier.training import Trained as Trained
from dolma_pipe.classifier.training import train as train
