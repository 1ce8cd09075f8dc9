"""Hate and insults, in documents and in lines, by a fastText classifier.

The bundled model tells what people called hateful, offensive or toxic in English tweets and comments from edited text
(see dolma_pipe/models/README.md for what it was trained on and how often it errs). It knows words, not intentions: it
finds slurs and insults, also where they are quoted, and misses what is vile in polite words. For pornography (`nsfw`),
or another language, name a model: `{name: nsfw, use: toxicity, model: nsfw.bin, label: nsfw}`.
"""

from __future__ import annotations

from taggers.fasttext import Fasttext


class Toxicity(Fasttext):
    """Document scores and line scores, as Dolma's `jigsaw_hatespeech_document_v2` and `..._sentence_v2` have them.

    model: a bundled or cached model's name, or the path of a fastText classifier. label: the label that counts.
    min_line_score: lines from this score on are listed. lowercase: as the model was trained.

    A long document is the mean of its words, so a vile line drowns in it: keep documents by `max_line_score`, or take
    the lines out (`edit: {remove: toxicity.lines}`).
    """

    version = 2

    def __init__(
        self, *, model: str = "toxicity", label: str = "toxic", min_line_score: float = 0.9, lowercase: bool = True
    ) -> None:
        super().__init__(
            model=model, labels=[label], line_label=label, min_line_score=min_line_score, lowercase=lowercase
        )
