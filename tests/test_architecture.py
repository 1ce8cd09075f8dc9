"""Imports only go down, and the rooms keep to their size."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS: list[set[str]] = [
    {"dolma_pipe", "dolma_pipe.types", "dolma_pipe.errors"},
    {
        "dolma_pipe.config",
        "dolma_pipe.storage",
        "dolma_pipe.kernels",
        "dolma_pipe.streams",
        "dolma_pipe.models",
        "dolma_pipe.draws",
        "dolma_pipe.heap",
        "dolma_pipe.pseudonyms",
        "dolma_pipe.accuracy",
        "dolma_pipe.blocklists",
        "dolma_pipe.compilation",
    },
    {"dolma_pipe.batch", "dolma_pipe.fasttext", "dolma_pipe.languages", "dolma_pipe.url"},
    {
        "dolma_pipe.inputs",
        "dolma_pipe.jsonl",
        "dolma_pipe.parquet",
        "dolma_pipe.shards",
        "dolma_pipe.attributes",
        "dolma_pipe.tokens",
        "dolma_pipe.token_writer",
        "dolma_pipe.lineage",
        "dolma_pipe.takedown",
        "dolma_pipe.manifest",
        "dolma_pipe.quarantine",
        "dolma_pipe.verify",
    },
    {
        "dolma_pipe.classifier",
        "dolma_pipe.contamination",
        "dolma_pipe.editing",
        "dolma_pipe.explain",
        "dolma_pipe.passages",
        "dolma_pipe.places",
        "dolma_pipe.view",
        "dolma_pipe.fused",
        "dolma_pipe.hard_texts",
        "dolma_pipe.kept_text",
        "dolma_pipe.labels",
        "dolma_pipe.tagger",
        "dolma_pipe.mixer",
        "dolma_pipe.recipes",
        "dolma_pipe.rules",
        "dolma_pipe.tokenizer",
        "dolma_pipe.exchange",
        "dolma_pipe.fast_encoder",
        "dolma_pipe.conversion",
    },
    {"dolma_pipe.stage", "dolma_pipe.execution"},
    {"taggers", "mixers"},
    {"dolma_pipe.stages", "dolma_pipe.runners", "dolma_pipe.report", "dolma_pipe.train"},
    {"dolma_pipe.pipeline", "dolma_pipe.demo", "dolma_pipe.exposure"},
    {"dolma_pipe.cli"},
    {"dolma_pipe.__main__"},
]
SIBLINGS = [{"dolma_pipe.stages"}, {"dolma_pipe.runners"}, {"dolma_pipe.report"}, {"dolma_pipe.train"}]
HEAVY = {"torch", "ray", "numba", "pyarrow", "duckdb", "numpy", "rich", "fasttext", "tokenizers", "gigatoken"}
MAX_FILE, MAX_FUNCTION = 400, 60


def modules() -> list[Path]:
    return [path for package in ("dolma_pipe", "taggers", "mixers") for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The longest name in FLOORS that a module belongs to."""
    rooms = [room for floor in FLOORS for room in floor if module == room or module.startswith(room + ".")]
    return max(rooms, key=len, default=None)


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def imports_of(path: Path) -> list[tuple[str, int, bool]]:
    """Imported modules of ours or others, with the line and whether it is at module level."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef) for node in ast.walk(outer)}
    found: list[tuple[str, int, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) not in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name if (ROOT / (name.replace(".", "/") + ".py")).exists() else node.module for name in names]
            found += [(name, node.lineno, id(node) not in inner) for name in known]
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_only_go_down(path: Path) -> None:
    room = room_of(name_of(path))
    assert room is not None
    assert room != "dolma_pipe" or name_of(path) == "dolma_pipe", f"{path.name} is in no room: add it to FLOORS"
    for imported, line, _ in imports_of(path):
        other = room_of(imported)
        if other is None or other == room:
            continue
        assert floor_of(other) <= floor_of(room), f"{path}:{line} reaches up to {imported}"
        siblings = {room} in SIBLINGS and {other} in SIBLINGS
        assert not siblings, f"{path}:{line}: {room} must not know {other}"
        assert other not in ("taggers", "mixers"), (
            f"{path}:{line}: taggers and mixers are known only through the loader"
        )


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= MAX_FILE, f"{path} is too crowded for one room"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and path.parent.name != "kernels":
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", [p for p in modules() if "cli" in p.parts and p.name != "progress.py"], ids=name_of)
def test_commands_import_nothing_heavy_until_they_run(path: Path) -> None:
    heavy = [name for name, _, top in imports_of(path) if top and name.split(".")[0] in HEAVY]
    assert heavy == []


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_command_line_prints_and_nobody_edits_the_import_path(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or "cli" in path.parts, f"{path}:{node.lineno} prints"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("spec_from_file_location",), f"{path}:{node.lineno}"
            assert not (node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_torch_is_imported_by_the_training_stage_alone(path: Path) -> None:
    if "train" not in path.parts:
        assert not [
            name for name, _, _ in imports_of(path) if name.split(".")[0] == "torch" and "taggers" not in path.parts
        ]
