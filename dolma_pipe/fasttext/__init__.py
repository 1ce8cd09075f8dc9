"""fastText classifiers (.bin, and quantised .ftz) read into arrays, and their predictions for a whole batch at once.

The labels and their order are those of the fastText library, the scores equal to rounding (1e-5; see
`kernels.fasttext_labels`); the library itself is only needed to train.
"""

from dolma_pipe.fasttext.model import FastText, Predictions, Unit

__all__ = ["FastText", "Predictions", "Unit"]
