import sys

import pytest
import torch

from shapes import icosphere, toy_face
from vrn_lite import bench
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges, signed_volume


@pytest.fixture
def quick_trimesh(monkeypatch):
    """Without the seconds that trimesh takes on the full grid."""
    monkeypatch.setattr(bench, "_trimesh", lambda *_: lambda: 0)


def test_the_head_is_closed_and_lies_inside_the_grid():
    vertices, triangles = bench.head(procedural())
    assert len(boundary_edges(triangles)) == 0
    assert float(signed_volume(vertices, triangles)) > 0
    assert 20_000 < len(triangles) < 40_000
    assert (vertices > 0).all()
    assert (vertices.amax(0) < torch.tensor([192.0, 192.0, 100.0])).all()


@pytest.mark.usefixtures("quick_trimesh")
def test_voxelizers_fill_the_same_grid_with_small_errors():
    pytest.importorskip("pyvista", reason="the VTK column needs pyvista")
    ours, vtk, other = bench.voxelizers(*bench.head(procedural()), repeats=2, slow_repeats=1)
    assert [line.by for line in (ours, vtk, other)] == ["vrn_lite", "VTK (pyvista)", "trimesh"]
    assert [line.runs for line in (ours, vtk, other)] == [2, 2, 1]
    assert abs(ours.volume_error) < 0.001
    assert abs(vtk.volume_error) < 0.001


def test_trimesh_voxels_are_cubes_of_the_scaled_mesh():
    vertices, triangles = icosphere(8.0, 3)
    count = bench._trimesh(vertices, triangles)()
    assert count == pytest.approx(2 * float(signed_volume(vertices, triangles)), rel=0.3)  # it keeps the whole shell


@pytest.mark.usefixtures("quick_trimesh")
def test_a_missing_pyvista_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    _, vtk, _ = bench.voxelizers(*bench.head(procedural()), repeats=1, slow_repeats=1)
    assert vtk.value is None
    assert vtk.runs == 0
    assert "pip install" in vtk.note


def test_pair_rates_are_medians_per_second():
    line = bench.pair_rate(toy_face(), "tiny", repeats=3, batch=4)
    assert line.value > 0
    assert (line.unit, line.runs, line.by) == ("pairs/s", 3, "toy faces")


def test_all_measurements_come_one_by_one(monkeypatch, quick_trimesh):
    monkeypatch.setattr(bench, "PRESETS", ("tiny",))
    lines = list(bench.run((toy_face(), procedural()), repeats=1, slow_repeats=1, batch=2))
    assert [line.by for line in lines[3:]] == ["toy faces", "procedural faces"]


def test_no_repeats_are_refused():
    with pytest.raises(InputError, match="at least 1, got 0"):
        next(bench.run(repeats=0))
