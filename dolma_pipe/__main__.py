"""`python -m dolma_pipe` (and `torchrun -m dolma_pipe`) is the `dolma-pipe` command."""

from dolma_pipe.cli import run

run()
