"""The project's own files agree with each other: dependencies, environments, addresses, wheel, layers."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = sorted((ROOT / "vrn_lite").rglob("*.py"))
COLAB = dict(line.split("==") for line in (ROOT / "tests" / "colab_constraints.txt").read_text().splitlines() if "==" in line)
CONDA = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}
IMPORTED_AS = {"skimage": "scikit-image", "PIL": "pillow", "IPython": "ipython"}
OPTIONAL = {"cv2", "eos", "imageio_ffmpeg", "pillow_heif", "pyvista"}
ROOMS = ("frame files downloads memory photo.image_io presets mesh faces camera raster synth volume landmarks samples training.losses networks "
         "inference align metrics training evaluation.testsets photo.crop datasets evaluation photo studies viz exercises "
         "cli").split()  # fmt: skip
INNER = {
    "faces": "photographs morphable patch basel ict procedural",
    "faces/procedural": "anatomy surface triangulate mesh_builder head modes builder",
    "synth": "appearance degradations background occluders eyewear hair skin render registration assets photographed",
    "networks": "base hourglass vrn regression weights",
    "training": "losses optim log data runtime checkpoint loop",
    "photo": "image_io finder cascade yunet scenes train_finder crop exports doubt reconstruct many registration",
    "evaluation": "testsets predictors eos evaluate",
    "studies": "ablations published reproduce bench",
}
"""Order within folders, like that of `ROOMS`."""


def room_of(module: str) -> str:
    """The room of a module's full name: a file, a folder, or a file of a folder that stands elsewhere in the list."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if ".".join(parts[:2]) in ROOMS else parts[0]


def conda_dependencies(path: Path) -> set[str]:
    lines = path.read_text().split("dependencies:\n")[1].splitlines()
    return {line.strip().removeprefix("- ") for line in lines if line.strip()}


def top_imports(path: Path) -> set[str]:
    """Full names of modules that a file imports when it is imported."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" if node.module == "vrn_lite" else str(node.module) for alias in node.names}
    return names


def test_every_import_is_a_declared_dependency():
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    foreign = imported - set(sys.stdlib_module_names) - {"vrn_lite"} - OPTIONAL
    assert {IMPORTED_AS.get(name, name) for name in foreign} <= set(REQUIREMENTS)


def test_every_dependency_is_imported():
    text = "".join(path.read_text() for path in SOURCES)
    for name in REQUIREMENTS:
        module = {v: k for k, v in IMPORTED_AS.items()}.get(name, name)
        assert re.search(rf"^\s*(import|from) {module}\b", text, re.M), f"{name} is declared and never imported"


def test_dependencies_have_lower_bounds_only():
    for requirement in REQUIREMENTS.values():
        assert [s.operator for s in requirement.specifier] == [">="], str(requirement)


@pytest.mark.parametrize(("name", "version"), COLAB.items())
def test_colab_keeps_its_versions(name, version):
    assert REQUIREMENTS[name].specifier.contains(version)


def test_conda_environment_lists_every_dependency_with_its_bound():
    listed = conda_dependencies(ROOT / "environment.yml")
    assert {f"{CONDA.get(r.name, r.name)}{r.specifier}" for r in REQUIREMENTS.values()} <= listed
    assert "python=3.12" in listed


def test_binder_environment_is_the_root_environment_without_the_lab():
    extra = conda_dependencies(ROOT / "environment.yml") - conda_dependencies(ROOT / "binder" / "environment.yml")
    assert {re.split("[=>]", name)[0] for name in extra} == {"jupyterlab"}
    assert conda_dependencies(ROOT / "binder" / "environment.yml") <= conda_dependencies(ROOT / "environment.yml")


def test_binder_installs_the_package_and_stops_at_the_first_error():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[:2] == ["#!/bin/bash", "set -euo pipefail"]
    assert "python -m pip install --no-cache-dir --no-deps -e ." in lines
    assert any("import vrn_lite" in line for line in lines)


@pytest.mark.parametrize("path", [ROOT / "README.md", *NOTEBOOKS], ids=lambda path: path.name)
def test_every_address_is_the_repository_of_pyproject(path):
    text = path.read_text()
    address = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    pattern = r"(?:colab\.research\.google\.com/github/|mybinder\.org/v2/gh/|git\+https://github\.com/|raw\.githubusercontent\.com/)([\w.-]+/[\w-]+)"
    assert set(re.findall(pattern, text)) <= {address}
    if path.suffix == ".ipynb":
        first = "".join(json.loads(text)["cells"][0]["source"])
        assert re.search(rf"colab\.research\.google\.com/github/{address}/blob/[\w.-]+/notebooks/{path.name}", first)
        assert re.search(rf"mybinder\.org/v2/gh/{address}/[\w.-]+\?urlpath=lab/tree/notebooks/{path.name}", first)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_wheel_holds_the_weights_and_every_module(wheel):
    names = set(wheel.namelist())
    weights = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vrn_lite" / "weights").iterdir() if path.is_file()}
    assert {path.relative_to(ROOT).as_posix() for path in SOURCES} | weights <= names
    assert any(name.endswith(".safetensors") for name in weights)
    assert all(name.startswith(("vrn_lite/", "vrn_lite-")) for name in names)


def test_wheel_metadata_names_the_command_and_the_licence(wheel):
    entries = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "vrn-lite = vrn_lite.cli:main" in wheel.read(entries).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_shipped_weights_stay_small():
    sizes = [path.stat().st_size for path in (ROOT / "vrn_lite" / "weights").glob("*.safetensors")]
    assert all(size <= 30 * 2**20 for size in sizes)
    assert sum(sizes) <= 100 * 2**20


def test_imports_go_down_the_list_of_rooms():
    for path in SOURCES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        room = room_of(module)
        if path.name == "__init__.py":
            continue
        for name in top_imports(path):
            if name.startswith("vrn_lite."):
                other = room_of(name)
                assert ROOMS.index(other) <= ROOMS.index(room), f"{path.name} imports {name}, which stands below it"
                assert other != "viz" or room in ("viz", "cli"), f"{path.name} imports viz at its top"


@pytest.mark.parametrize("folder", INNER)
def test_imports_within_a_folder_go_down_its_list(folder):
    rooms = INNER[folder].split()
    found = [*(ROOT / "vrn_lite" / folder).glob("*.py"), *(ROOT / "vrn_lite" / folder).glob("*/__init__.py")]
    files = {path.parent.name if path.parent.name != Path(folder).name else path.stem: path for path in found}
    files = {name: path for name, path in files.items() if not name.startswith("__")}
    assert set(rooms) == set(files)
    for room, path in files.items():
        for name in top_imports(path):
            inside = f"vrn_lite.{folder.replace('/', '.')}."
            if name.startswith(inside):
                other = name.removeprefix(inside).split(".")[0]
                assert rooms.index(other) < rooms.index(room), f"{path.name} imports {name}, which stands below it"


def test_every_room_is_there():
    names = {path.relative_to(ROOT / "vrn_lite").parts[0].removesuffix(".py") for path in SOURCES}
    assert {room.split(".")[0] for room in ROOMS} == names - {"__init__"}


def test_nobody_asks_what_kind_of_network_it_has():
    """The contract's facts answer: no `isinstance` over classes of networks outside their room."""
    classes = {
        node.name for path in (ROOT / "vrn_lite" / "networks").glob("*.py") for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    }
    for path in SOURCES:
        if path.parent.name == "networks":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
                asked = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
                asked |= {name.attr for name in ast.walk(node.args[1]) if isinstance(name, ast.Attribute)}
                assert not asked & (classes | {"Module"}), f"{path.name}, line {node.lineno}"


EVENING = ("frame mesh camera raster volume landmarks samples networks/hourglass networks/vrn training/losses training/loop metrics align").split()
"""What is read in an evening, from top to bottom."""

BUDGETS = {
    "the evening's reading": (2000, 2000),
    "networks": (None, 1010),
    "training": (None, 1210),
    "synth": (1000, 2360),
    "faces": (1600, 1890),
    "datasets": (600, 1310),
    "photo": (1000, 2540),
    "evaluation": (800, 1010),
    "studies": (900, 910),
    "viz": (1200, 1750),
    "exercises": (900, 950),
    "cli": (300, 700),
    "all": (10_300, 17_430),
}
"""Lines of a room: what the design allows it (None: nothing for it alone), and what it may have today. Only less, please."""


@pytest.mark.parametrize("room", BUDGETS)
def test_a_room_keeps_its_budget_of_lines(room):
    names = {path: path.relative_to(ROOT / "vrn_lite").with_suffix("").as_posix() for path in SOURCES}
    chosen = {"all": lambda name: True, "the evening's reading": lambda name: name in EVENING}.get(room, lambda name: name.split("/")[0] == room)
    lines = sum(len(path.read_text().splitlines()) for path, name in names.items() if chosen(name))
    design, today = BUDGETS[room]
    assert lines <= today, f"{room}: {lines} lines, {today} are allowed and the design's budget is {design or 'a part of 2,000'}: take some out first"


def test_every_line_of_the_package_has_at_most_120_columns():
    for path in SOURCES:
        if path.parent.name not in ("photo", "datasets") and path.stem not in ("cli", "downloads"):
            assert max(map(len, path.read_text().splitlines()), default=0) <= 120, path.name


def test_the_step_is_seen_in_one_look():
    """From drawing the pairs to handing out the metrics: one loop of at most 26 lines."""
    tree = ast.parse((ROOT / "vrn_lite" / "training" / "loop.py").read_text())
    (steps,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "steps")
    (loop,) = (node for node in ast.walk(steps) if isinstance(node, ast.For) and "ahead" in ast.unparse(node.iter))
    assert loop.end_lineno - loop.lineno < 26


def test_import_is_silent():
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import vrn_lite"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_file_names_a_path_of_somebodys_machine():
    folders = ("vrn_lite", "tests", "notebooks", "binder", ".ci", ".github")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if not {"out", "__pycache__", ".ruff_cache"} & set(path.parts)]
    for path in files + list(ROOT.glob("*.*")):
        if path.is_file() and path.name != ".git" and path.suffix not in (".safetensors", ".png", ".jpg"):
            assert not re.search(r"/(work|root|farm|opt|tmp)/|/home/\w", path.read_text(encoding="utf-8", errors="ignore")), path


def test_citation_names_the_paper():
    text = (ROOT / "CITATION.cff").read_text()
    assert "preferred-citation:" in text
    assert "Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression" in text
    assert f"version: {PROJECT['version']}" in text
