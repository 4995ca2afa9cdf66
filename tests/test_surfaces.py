"""Scans' files as their makers write them: textures, materials, colours, seams."""

import gzip
import re

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from licensed import bald, head, textured, write_obj, write_ply, write_vrml
from vrn_lite.datasets.scans import levelled, read_scan
from vrn_lite.datasets.surfaces import read_surface, weld
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges


@pytest.mark.parametrize(("write", "name"), [(write_vrml, "a.wrl"), (write_obj, "a.obj")])
def test_textures_are_sampled_at_their_coordinates(tmp_path, write, name):
    """The picture's red grows to the right of the head and its green upward."""
    write(tmp_path / name)
    surface = read_surface(tmp_path / name)
    vertices, triangles, _ = head()
    assert len(surface.triangles) == len(triangles)
    low, high = vertices.amin(0).numpy(), vertices.amax(0).numpy()
    goal = np.clip((surface.points - low) / (high - low), 0, 1)[:, :2]
    used = np.unique(surface.triangles)
    np.testing.assert_allclose(surface.colours[used, :2], goal[used], atol=0.04)
    np.testing.assert_allclose(surface.colours[used, 2], 128 / 255, atol=0.03)


def test_vertices_at_one_place_are_one(tmp_path):
    """Two triangles that meet in an edge, written with vertices of their own, hang together; colours are means."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    colours = np.array([[255, 0, 0]] * 3 + [[0, 0, 255]] * 3, dtype=np.uint8)
    trimesh.Trimesh(points, [[0, 1, 2], [3, 5, 4]], vertex_colors=colours, process=False).export(tmp_path / "two.ply")
    surface = read_surface(tmp_path / "two.ply")
    assert len(surface.points) == 4
    assert len(boundary_edges(torch.tensor(surface.triangles))) == 4
    shared = (surface.points.sum(1) == 1).nonzero()[0]
    np.testing.assert_allclose(surface.colours[shared], [[0.5, 0, 0.5]] * 2)


def squares(folder, vertex="v {} {} 0", colours=(), lines=("mtllib a.mtl", "usemtl skin"), material="newmtl skin\nmap_Kd a.png\n"):
    """Two unit squares side by side, each with vertices and texture coordinates of its own; the left shows red, the right blue."""
    at = [(x + step, y) for step in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    places = [(u, v) for low in (0.25, 0.625) for u, v in ((low, 0.25), (low + 0.125, 0.25), (low + 0.125, 0.75), (low, 0.75))]
    corners = [" ".join(f"{n + k}/{n + k}" for k in range(4)) for n in (1, 5)]
    colours = [" ".join(map(str, colour)) for colour in colours] or [""] * 8
    rows = [f"{vertex.format(x, y)} {colour}" for (x, y), colour in zip(at, colours, strict=True)]
    text = "\n".join([*lines, *rows, *(f"vt {u} {v}" for u, v in places), *(f"f {corner}" for corner in corners)])
    (folder / "a.obj").write_text(text + "\n")
    (folder / "a.mtl").write_text(material)
    picture = np.zeros((32, 64, 3), dtype=np.uint8)  # black around the charts
    picture[8:24, 16:24, 0], picture[8:24, 40:48, 2] = 255, 255
    Image.fromarray(picture).save(folder / "a.png")
    return folder / "a.obj"


def test_a_seam_is_no_hole_and_keeps_the_texture(tmp_path):
    """The squares hang together; on either side of the seam colours are the texture's, without the black around it."""
    surface = read_surface(squares(tmp_path))
    assert len(surface.points) == 6
    assert len(boundary_edges(torch.tensor(surface.triangles))) == 6
    red, blue, seam = (surface.colours[surface.points[:, 0] == x] for x in (0, 2, 1))
    assert red[:, 0].min() > 0.7
    assert blue[:, 2].min() > 0.7
    np.testing.assert_allclose(seam[:, 0] + seam[:, 2], 1, atol=0.25)
    assert seam.min(0)[0] > 0.2
    assert seam.min(0)[2] > 0.2


def test_seams_that_differ_by_rounding_are_one(tmp_path):
    path = squares(tmp_path)
    path.write_text(path.read_text().replace("v 1 1 0", "v 1.0000004 1 0", 1))
    assert len(read_surface(path).points) == 6


@pytest.mark.parametrize(
    "named",
    [
        "C:\\Users\\maker\\scans\\a.png",
        "/disk/maker/a.png",
        ".\\a.png",
        "A.PNG",
        "-s 1 1 1 -o 0 0 0 -clamp on a.png",
        "-blendu off -imfchan r -bm 0.5 ./a.png",
        "../a.png",
    ],
)
def test_a_textures_path_is_that_of_the_makers_machine(tmp_path, named):
    (tmp_path / "scan").mkdir()
    path = squares(tmp_path / "scan", material=f"newmtl skin\nKd 1 1 1\nmap_Kd {named}\n")
    assert read_surface(path).colours[:, 0].max() > 0.7


def test_options_of_a_map_move_the_texture(tmp_path):
    """Shifted by three eighths of its width, the left square shows what the right one did."""
    surface = read_surface(squares(tmp_path, material="newmtl skin\nmap_Kd -o 0.375 0 0 a.png\n"))
    assert surface.colours[surface.points[:, 0] == 0][:, 2].min() > 0.7


@pytest.mark.parametrize("named", ["../a.png", "{}/a.png", "link.png"])
def test_no_file_outside_the_scans_folder_is_opened(tmp_path, named):
    (tmp_path / "scan").mkdir()
    path = squares(tmp_path / "scan", material=f"newmtl skin\nmap_Kd {named.format(tmp_path)}\n")
    (tmp_path / "scan" / "a.png").rename(tmp_path / "a.png")
    (tmp_path / "scan" / "link.png").symlink_to(tmp_path / "a.png")
    refused(path, "its texture is missing")


def refused(path, text):
    with pytest.raises(InputError, match=re.escape(text)) as caught:
        read_surface(path)
    assert path.name in str(caught.value)


def test_what_is_named_and_missing_is_told(tmp_path):
    coloured = [(0.1, 0.2, 0.3)] * 8
    path = squares(tmp_path, colours=coloured)
    (tmp_path / "a.png").unlink()
    refused(path, "its texture is missing: put a.png beside it")
    (tmp_path / "a.mtl").unlink()
    refused(path, "its material file is missing: put a.mtl beside it")
    refused(squares(tmp_path, lines=("mtllib a.mtl", "usemtl hair")), "its material hair is missing")
    refused(squares(tmp_path, material="newmtl skin\nillum 2\n"), "has neither a texture nor colours")
    refused(squares(tmp_path, material="newmtl skin\nKd 0.8 0.8 0.8\n"), "has neither a texture nor colours")


def test_a_ply_files_texture(tmp_path):
    """Texture coordinates at its vertices; the picture is named in the header."""
    vertices, triangles, _ = head()
    at, picture = textured(vertices)
    rows = "\n".join(f"{x:.5f} {y:.5f} {z:.5f} {u:.5f} {v:.5f}" for (x, y, z), (u, v) in zip(vertices.tolist(), at, strict=True))
    faces = "\n".join(f"3 {a} {b} {c}" for a, b, c in triangles.tolist())
    properties = "".join(f"property float {name}\n" for name in "xyzst")
    (tmp_path / "a.ply").write_text(
        f"ply\nformat ascii 1.0\ncomment TextureFile D:\\maker\\Skin.png\nelement vertex {len(vertices)}\n{properties}"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n{rows}\n{faces}\n"
    )
    refused(tmp_path / "a.ply", "its texture is missing: put Skin.png beside it")
    Image.fromarray(picture).save(tmp_path / "skin.png")
    surface = read_surface(tmp_path / "a.ply")
    low, high = vertices.amin(0).numpy(), vertices.amax(0).numpy()
    np.testing.assert_allclose(surface.colours[:, :2], ((surface.points - low) / (high - low))[:, :2].clip(0, 1), atol=0.05)


@pytest.mark.parametrize("most", [1, 255])
def test_colours_of_an_obj_file_end_at_one_or_at_255(tmp_path, most):
    colours = [(most * red / 8, most / 2, most) for red in range(8)]
    surface = read_surface(squares(tmp_path, colours=colours, lines=()))
    np.testing.assert_allclose(surface.colours[:, 1:], [[0.5, 1]] * 6)


VRML = """#VRML V2.0 utf8
Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point [ 0 0 0, 1 0 0, 1 1 0, 0 1 0 ] }}
coordIndex [ 0 1 2 -1 0 2 3 -1 ]
color Color {{ color [ 1 0 0, 0 0 1, 0 1 0, 1 1 1 ] }} {} }} }}
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 1]]),
        ("colorIndex [ 3 3 1 -1 3 1 1 -1 ]", [[1, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]]),
        ("colorPerVertex FALSE", [[0.5, 0, 0.5], [1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]),
        ("colorPerVertex FALSE colorIndex [ 2 0 ]", [[0.5, 0.5, 0], [0, 1, 0], [0.5, 0.5, 0], [1, 0, 0]]),
    ],
)
@pytest.mark.parametrize("name", ["a.wrl", "a.wrl.gz", "a.wrz"])
def test_a_vrml_files_colours(tmp_path, more, expected, name):
    """Of vertices, of corners, of triangles; gzipped or not, whatever its name."""
    text = VRML.format(more).encode()
    (tmp_path / name).write_bytes(text if name == "a.wrl" else gzip.compress(text))
    surface = read_surface(tmp_path / name)
    assert surface.points[:, :2].tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    np.testing.assert_allclose(surface.colours, expected)


def test_a_vertex_for_each_corner_is_the_same_scan(tmp_path):
    write_ply(tmp_path / "scan.ply")
    whole = read_scan(tmp_path / "scan.ply", levelled(bald))
    mesh = trimesh.load(tmp_path / "scan.ply", process=False)
    corners = mesh.faces.reshape(-1)
    torn = {"vertices": mesh.vertices[corners], "faces": np.arange(len(corners)).reshape(-1, 3), "process": False}
    trimesh.Trimesh(**torn, vertex_colors=mesh.visual.vertex_colors[corners]).export(tmp_path / "scan.ply")
    found = read_scan(tmp_path / "scan.ply", levelled(bald))
    assert len(found.face.mean) == len(whole.face.mean)
    assert torch.equal(found.face.patch, whole.face.patch)
    torch.testing.assert_close(found.face.mean[found.face.triangles], whole.face.mean[whole.face.triangles])
    torch.testing.assert_close(found.colours[found.face.triangles], whole.colours[whole.face.triangles])


def test_welding_names_the_first_of_those_at_one_place():
    """Exactly, or in steps that are small: the third reaches the first by the second."""
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert weld(points).tolist() == [0, 1, 2, 3, 0]
    assert weld(points, 0.11).tolist() == [0, 0, 0, 3, 0]
