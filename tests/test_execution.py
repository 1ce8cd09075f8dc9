"""A stage that is run again does only what its inputs, its definition or a crash left undone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from handmade import tree_of
from toy_stage import Upper

from dolma_pipe.errors import DataError, TaskError
from dolma_pipe.execution import Message, Options, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.verify import verify


class Place:
    """A toy stage in a folder, and what it did last."""

    def __init__(self, tmp_path: Path, files: dict[str, str]) -> None:
        self.source, self.home, self.log_path = tmp_path / "in", tmp_path / "out", tmp_path / "log"
        self.source.mkdir()
        for name, text in files.items():
            (self.source / name).write_text(text)
        self.messages: list[str] = []

    def stage(self, suffix: str = "") -> Upper:
        return Upper(str(self.source), str(self.home), str(self.log_path), suffix)

    def run(self, options: Options = Options(), suffix: str = "", workers: int = 1) -> list[str]:
        self.log_path.write_text("")
        stage = self.stage(suffix)
        note = lambda event: self.messages.append(event.text) if isinstance(event, Message) else None  # noqa: E731
        self.summary = run_stage(stage, Local(workers), options, note)
        return sorted(self.log_path.read_text().splitlines())

    @property
    def result(self) -> str:
        return (self.home / "all.txt").read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, {"a": "one ", "b": "two ", "c": "three "})


EVERYTHING = ["join all", "upper a", "upper b", "upper c"]


def test_a_second_run_does_nothing(place: Place) -> None:
    assert place.run() == EVERYTHING
    assert place.result == "ONE TWO THREE "
    before = tree_of(place.home, ignore=())
    assert place.run() == []
    assert place.summary.done == 0
    assert place.summary.skipped == 4
    assert tree_of(place.home, ignore=()) == before


def test_scratch_is_gone_after_success_and_no_unfinished_file_is_left(place: Place) -> None:
    place.run()
    assert sorted(os.listdir(place.home)) == ["_manifest", "all.txt"]


def test_a_changed_input_is_done_again_with_what_was_lost_and_what_depends_on_it(place: Place) -> None:
    place.run()
    (place.source / "b").write_text("2 ")
    assert place.run() == EVERYTHING
    assert place.result == "ONE 2 THREE "


def test_an_input_with_another_time_but_the_same_content_stands(place: Place) -> None:
    place.run()
    os.utime(place.source / "a", (1, 1))
    assert place.run() == []


def test_a_change_that_keeps_size_and_time_is_found_by_rehash(place: Place) -> None:
    place.run()
    stat = (place.source / "a").stat()
    (place.source / "a").write_text("eno ")
    os.utime(place.source / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert place.run() == []
    assert "upper a" in place.run(Options(rehash=True))
    assert place.result == "ENO TWO THREE "


def test_a_changed_definition_is_done_again(place: Place) -> None:
    place.run()
    assert place.run(suffix="!") == EVERYTHING
    assert place.result == "ONE !TWO !THREE !"


def test_force_does_everything_again_and_dry_run_nothing(place: Place) -> None:
    assert place.run(Options(dry_run=True)) == []
    assert place.summary.to_do == 3
    assert not place.home.exists()
    place.run()
    assert place.run(Options(force=True)) == EVERYTHING


def test_a_lost_output_is_made_again(place: Place) -> None:
    place.run()
    (place.home / "all.txt").unlink()
    assert place.run() == EVERYTHING
    assert place.result == "ONE TWO THREE "


def test_a_failure_leaves_the_other_tasks_done_and_a_rerun_finishes(place: Place) -> None:
    (place.source / "b").write_text("fail")
    with pytest.raises(DataError, match="told to fail"):
        place.run()
    (place.source / "b").write_text("two ")
    assert place.run() == ["join all", "upper b"]
    assert place.result == "ONE TWO THREE "


def test_several_failures_are_one_error_that_counts_them(place: Place) -> None:
    for name in "ab":
        (place.source / name).write_text("fail")
    with pytest.raises(TaskError, match=r"upper a: told to fail \(and 1 more\)"):
        place.run()


def test_an_input_that_is_gone_takes_its_record_along_and_the_run_says_so(place: Place) -> None:
    place.run()
    (place.source / "a").unlink()
    place.run()
    assert place.result == "TWO THREE "
    assert place.summary.removed == 1
    assert any("removed the outputs of 1" in message for message in place.messages)
    assert not (place.home / "_manifest" / "upper" / "a.json").exists()


def test_too_many_bad_rows_fail_the_run_each_time(place: Place) -> None:
    (place.source / "a").write_text("bad")
    for _ in range(2):
        with pytest.raises(DataError, match="1 of 4 rows"):
            place.run()


def test_parts_share_the_work_and_a_last_run_finishes(place: Place) -> None:
    assert place.run(Options(part=(0, 2))) == ["upper a", "upper c"]
    assert any("this part is done" in message for message in place.messages)
    assert place.run(Options(part=(0, 1))) == ["join all", "upper b"]
    assert place.result == "ONE TWO THREE "


def test_a_part_does_the_same_tasks_whenever_it_starts(place: Place) -> None:
    assert place.run(Options(part=(1, 2))) == ["upper b"]
    assert place.run(Options(part=(0, 2))) == ["join all", "upper a", "upper c"]
    assert place.run(Options(part=(1, 2))) == []


@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_workers_gives_the_same_files_and_records(tmp_path: Path, workers: int) -> None:
    files = {f"f{i:02}": f"text {i} " for i in range(12)}
    trees = []
    for number in (1, workers):
        (tmp_path / str(number)).mkdir()
        place = Place(tmp_path / str(number), files)
        place.run(workers=number)
        trees.append(tree_of(place.home))
    assert trees[0] == trees[1]


def test_verify_finds_one_flipped_byte(place: Place) -> None:
    place.run()
    assert verify(str(place.home)).problems == []
    data = bytearray((place.home / "all.txt").read_bytes())
    data[3] ^= 1
    (place.home / "all.txt").write_bytes(bytes(data))
    (problem,) = verify(str(place.home)).problems
    assert "all.txt: hash" in problem


def test_a_record_that_cannot_be_read_is_named(place: Place) -> None:
    place.run()
    (place.home / "_manifest" / "join" / "all.json").write_text("{")
    with pytest.raises(DataError, match=r"all\.json: not a manifest record"):
        place.run()
