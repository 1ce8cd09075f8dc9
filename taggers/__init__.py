"""One file per tagger; a tagger's name is its file's name. Found by `dolma_pipe.tagger.load`."""
