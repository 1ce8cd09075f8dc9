"""A stage is brought up to date: what is left to do is found, handed to a runner, and what came out is added up."""

from dolma_pipe.execution.events import Event, Message, Options, PhaseStarted, Summary, TaskDone
from dolma_pipe.execution.run import run_stage

__all__ = ["Event", "Message", "Options", "PhaseStarted", "Summary", "TaskDone", "run_stage"]
