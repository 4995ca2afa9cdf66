"""The Basel model from files in its layout, made of the procedural face."""

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

import licensed
from licensed import EXPRESSIONS, IDENTITIES, MICROMETRES, SIGMA, SIGMA_EXP, arrays, bald, write_model
from vrn_lite.evaluation.testsets import heldout
from vrn_lite.faces import basel
from vrn_lite.faces.basel import REACH, BaselFace
from vrn_lite.faces.ict import SPANS
from vrn_lite.faces.patch import face_region, facing, open_patch
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges, boundary_loops
from vrn_lite.samples import make_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("basel"))


@pytest.fixture(scope="module")
def face(folder):
    return basel(folder)


@pytest.fixture
def broken(tmp_path):
    """A copy of the model's folder with something changed: change(array name, new value or None to remove it)."""
    write_model(tmp_path)

    def change(file, name, value):
        data = {key: array for key, array in loadmat(tmp_path / file).items() if not key.startswith("__")}
        data.pop(name) if value is None else data.update({name: value})
        savemat(tmp_path / file, data)
        return tmp_path

    return change


def test_the_model_is_the_face_it_was_written_from(face):
    torch.testing.assert_close(face.mean, MICROMETRES * bald.mean)
    assert torch.equal(face.triangles, bald.triangles)  # numbers from 0, wound towards the viewer
    assert torch.equal(face.landmarks, bald.landmarks)
    torch.testing.assert_close(face.identity, MICROMETRES * bald.identity[:IDENTITIES], atol=1e-2, rtol=0)
    assert torch.equal(face.patch_vertices, bald.patch_vertices)
    assert face.interocular == pytest.approx(MICROMETRES * bald.interocular)
    assert len(face.expression_names) == len(face.expression) == 2 * EXPRESSIONS


def test_coefficients_give_the_linear_model_of_the_files(face):
    generator = np.random.default_rng(0)
    shape, expression = generator.normal(size=IDENTITIES) * SIGMA, generator.normal(size=EXPRESSIONS) * SIGMA_EXP
    model, motion = arrays()
    expected = (model["mu_shape"][:, 0] + model["w"] @ shape + motion["mu_exp"][:, 0] + motion["w_exp"] @ expression).reshape(-1, 3)
    found = face.mesh(*face.coefficients(torch.tensor(shape).float(), torch.tensor(expression).float())).vertices[: len(face.mean)]
    torch.testing.assert_close(found, torch.tensor(expected).float(), atol=1.0, rtol=0)  # one micrometre


def test_each_mode_of_expression_goes_both_ways(face):
    torch.testing.assert_close(face.expression[0::2], -face.expression[1::2])
    _, coefficients = face.coefficients(torch.zeros(IDENTITIES), torch.tensor(SIGMA_EXP * [1, -1, 0, 2]).float())
    assert coefficients.tolist() == pytest.approx([1 / REACH, 0, 0, 1 / REACH, 0, 0, 2 / REACH, 0])


def test_a_copy_is_a_basel_face_too(face):
    assert isinstance(face.to("cpu"), BaselFace)
    assert torch.equal(face.to("cpu").identity_scale, face.identity_scale)


def test_faces_of_the_model_make_pairs_and_test_sets(face):
    pairs = make_pairs(face, "tiny", 2, torch.Generator().manual_seed(0))
    assert 0.02 < pairs.volumes.float().mean() < 0.5
    assert len(next(heldout(face, 2).batches("tiny"))) == 2


def test_the_model_file_may_be_named_itself_and_the_other_has_two_names(folder, tmp_path):
    write_model(tmp_path)
    (tmp_path / "Model_Exp.mat").rename(tmp_path / "Model_Expression.mat")
    assert torch.equal(basel(tmp_path / "Model_Shape.mat").mean, basel(folder).mean)


def face3d(folder):
    """BFM.mat: one struct, triangles [t, 3]."""
    shape, motion = arrays()
    renamed = {"shapeMU": shape["mu_shape"], "shapePC": shape["w"], "shapeEV": shape["sigma"], "tri": shape["tri"].T, "kpt_ind": shape["keypoints"]}
    savemat(folder / "BFM.mat", {"model": renamed | {"expMU": motion["mu_exp"], "expPC": motion["w_exp"], "expEV": motion["sigma_exp"]}})


def deviations_beside(folder):
    """sigma_exp in a file of its own."""
    shape, motion = arrays()
    savemat(folder / "Model_Shape.mat", shape)
    savemat(folder / "sigma_exp.mat", {"sigma_exp": motion.pop("sigma_exp")})
    savemat(folder / "Model_Expression.mat", motion)


def python_parts(folder):
    """3DDFA's: coordinates of landmarks counted from 0, deviations of all parameters in one row."""
    shape, motion = arrays()
    numbers = (3 * bald.landmarks[:, None] + torch.arange(3)).flatten()
    whitening = np.concatenate([np.ones(12), SIGMA, SIGMA_EXP])
    for name, values in {"u_shp": shape["mu_shape"], "w_shp_sim": shape["w"], "u_exp": motion["mu_exp"], "w_exp_sim": motion["w_exp"]}.items():
        np.save(folder / f"{name}.npy", values.astype(np.float32))
    np.save(folder / "keypoints_sim.npy", numbers)
    np.save(folder / "param_std.npy", whitening)
    savemat(folder / "tri.mat", {"tri": shape["tri"]})


def universitys(folder, info=True):
    """01_MorphableModel.mat has more vertices, in its own order; Exp_Pca.bin holds floats after the number of modes."""
    shape, motion = arrays()
    count = len(bald.mean)
    place = np.random.default_rng(0).permutation(count + 9)[:count]  # of the kept vertices
    more = {"shapeMU": np.full((count + 9, 3), 7.0), "shapePC": np.full((count + 9, 3, IDENTITIES), 5.0)}
    more["shapeMU"][place], more["shapePC"][place] = shape["mu_shape"].reshape(-1, 3), shape["w"].reshape(-1, 3, IDENTITIES)
    others = np.setdiff1d(np.arange(count + 9), place)[:6].reshape(2, 3)
    triangles = np.concatenate([others, place[bald.triangles.flip(1).numpy()], [[place[0], place[1], others[0, 0]]]]) + 1
    savemat(
        folder / "01_MorphableModel.mat",
        {"shapeMU": more["shapeMU"].reshape(-1, 1), "shapePC": more["shapePC"].reshape(-1, IDENTITIES), "shapeEV": SIGMA[:, None], "tl": triangles},
    )
    if info:
        savemat(folder / "model_info.mat", {"trimIndex": place[:, None] + 1, "keypoints": shape["keypoints"]})
    else:
        savemat(folder / "BFM_exp_idx.mat", {"trimIndex": place[:, None] + 1})
        np.savetxt(folder / "keypoints.txt", shape["keypoints"], fmt="%d")
    modes = np.concatenate([motion["mu_exp"].T, motion["w_exp"].T]).astype("<f4")
    (folder / "Exp_Pca.bin").write_bytes(np.array([EXPRESSIONS], dtype="<i4").tobytes() + modes.tobytes())
    np.savetxt(folder / "std_exp.txt", SIGMA_EXP[None])


@pytest.mark.parametrize("write", [face3d, deviations_beside, python_parts, universitys, lambda folder: universitys(folder, False)])
def test_the_model_is_read_as_people_have_it(face, tmp_path, write):
    write(tmp_path)
    np.savetxt(tmp_path / "face_mask.txt", bald.patch_vertices.numpy(), fmt="%d")
    found = basel(tmp_path)
    for name in ("mean", "identity", "expression", "identity_scale", "expression_scale"):
        torch.testing.assert_close(getattr(found, name), getattr(face, name), atol=1e-2, rtol=1e-5)
    for name in ("triangles", "landmarks", "patch"):
        assert torch.equal(getattr(found, name), getattr(face, name)), name


def test_what_is_missing_is_told_with_where_to_get_it(tmp_path):
    python_parts(tmp_path)
    np.save(tmp_path / "param_std.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(tmp_path, "param_std.npy cannot be read as numbers")
    (tmp_path / "param_std.npy").unlink()
    refused(tmp_path, "u_shp.npy has no param_std", "a pickle, which may run anything when it is opened", "where you trust it")
    (tmp_path / "uni").mkdir()
    universitys(tmp_path / "uni")
    (tmp_path / "uni" / "std_exp.txt").unlink()
    refused(tmp_path / "uni", "Exp_Pca.bin has no std_exp", "Deep3DFaceReconstruction")
    (tmp_path / "uni" / "Exp_Pca.bin").write_bytes(b"no modes")
    refused(tmp_path / "uni", "is no Exp_Pca.bin")
    (tmp_path / "uni" / "model_info.mat").unlink()
    refused(tmp_path / "uni", "01_MorphableModel.mat has no trimIndex", "model_info.mat of 3DDFA")


def test_all_forms_of_a_mask_are_alike(folder, face, tmp_path):
    chosen = torch.zeros(len(face.mean), dtype=torch.bool)
    chosen[bald.patch_vertices] = True
    np.save(tmp_path / "bits.npy", chosen.numpy())
    np.save(tmp_path / "numbers.npy", bald.patch_vertices.numpy())
    savemat(tmp_path / "numbers.mat", {"face_ind": bald.patch_vertices.numpy() + 1})
    savemat(tmp_path / "bits.mat", {"mask": chosen.numpy().astype(float)})
    for name in ("bits.npy", "numbers.npy", "numbers.mat", "bits.mat"):
        assert torch.equal(basel(folder, tmp_path / name).patch, face.patch), name


def test_without_a_mask_the_landmarks_tell_the_face(tmp_path, face):
    found = basel(write_model(tmp_path, mask=False))
    ours, theirs = (torch.zeros(len(face.mean), dtype=torch.bool).index_fill_(0, f.patch_vertices, True) for f in (found, face))
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.9
    assert len(boundary_edges(found.mesh().solid_triangles())) == 0


def test_the_region_of_a_face_is_most_of_the_patch_that_its_makers_marked(ict_face):
    region = face_region(ict_face.mean, ict_face.mean[ict_face.landmarks])
    region[SPANS["head_neck"].stop :] = False  # eyes, teeth, the inside of the mouth: surfaces of their own
    found = open_patch(ict_face.triangles, region)
    marked = torch.zeros(len(ict_face.mean), dtype=torch.bool).index_fill_(0, ict_face.patch_vertices, True)
    ours = torch.zeros_like(marked).index_fill_(0, ict_face.triangles[found].unique(), True)
    assert (ours & marked).sum() / (ours | marked).sum() > 0.9


def strip(*quads):
    """Triangles of unit squares, given by their corners."""
    return torch.tensor([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])


def test_open_patch_leaves_one_clean_surface():
    """Two squares side by side; a third that touches them in one corner; a crumb; a triangle twice; one without area; one that is not chosen."""
    triangles = torch.cat([strip((0, 1, 4, 3), (1, 2, 5, 4), (5, 6, 8, 7)), torch.tensor([[9, 10, 11], [0, 0, 1], [2, 12, 5]])])
    chosen = torch.ones(13, dtype=torch.bool)
    chosen[12] = False
    kept = open_patch(triangles, chosen)
    assert kept.tolist() == [True] * 4 + [False] * 5
    assert len(boundary_loops(triangles[kept])) == 1
    with pytest.raises(InputError, match="no triangles are left"):
        open_patch(triangles, torch.zeros(13, dtype=torch.bool))
    with pytest.raises(InputError, match="no triangles are left"):
        open_patch(triangles.repeat(2, 1), chosen)


def test_a_closed_surface_is_refused():
    solid = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    with pytest.raises(InputError, match="closed already"):
        open_patch(solid, torch.ones(4, dtype=torch.bool))


def test_facing_turns_what_looks_away():
    patch = torch.ones(len(bald.triangles), dtype=torch.bool)
    assert torch.equal(facing(bald.mean, bald.triangles.flip(1), bald.patch), bald.triangles)
    assert torch.equal(facing(bald.mean, bald.triangles, patch & bald.patch), bald.triangles)


def refused(folder, *texts, mask=None):
    with pytest.raises(InputError) as caught:
        basel(folder, mask)
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path):
    refused(tmp_path / "nowhere", "no Basel model at")
    savemat(tmp_path / "Model_Shape.mat", arrays()[0])
    refused(tmp_path, "Model_Exp.mat or Model_Expression.mat is missing beside")


def test_files_that_are_no_matlab_files(tmp_path):
    write_model(tmp_path)
    (tmp_path / "Model_Shape.mat").write_bytes(b"no MATLAB file at all" * 99)
    refused(tmp_path, "Model_Shape.mat is not a MATLAB file that can be read")
    (tmp_path / "Model_Shape.mat").write_bytes(b"")
    refused(tmp_path, "Model_Shape.mat is not a MATLAB file that can be read")


@pytest.mark.parametrize(
    ("file", "name", "value", "text"),
    [
        ("Model_Shape.mat", "w", None, "has no w"),
        ("Model_Shape.mat", "w", np.ones((9, IDENTITIES)), "w must have 3 x"),
        ("Model_Shape.mat", "sigma", np.ones((3, 1)), "sigma must have a number for each of the 6 columns of w"),
        ("Model_Shape.mat", "sigma", np.zeros((IDENTITIES, 1)), "sigma must be positive"),
        ("Model_Shape.mat", "mu_shape", np.full((9, 1), np.nan), "mu_shape has values that are not finite"),
        ("Model_Shape.mat", "keypoints", np.ones((1, 21)), "keypoints must be 68 vertex numbers, got 21"),
        ("Model_Shape.mat", "keypoints", np.zeros((1, 68)), "keypoints must be vertex numbers from 1"),
        ("Model_Shape.mat", "tri", np.full((3, 5), 1e9), "tri must be vertex numbers from 1"),
        ("Model_Shape.mat", "tri", np.ones((2, 5)), "tri must be [3, t]"),
        ("Model_Exp.mat", "mu_exp", np.ones((9, 1)), "belongs to another model"),
        ("Model_Exp.mat", "sigma_exp", None, "has no sigma_exp"),
    ],
)
def test_wrong_arrays(broken, file, name, value, text):
    refused(broken(file, name, value), file, text)


def test_masks_that_do_not_fit(folder, tmp_path):
    refused(folder, "no such mask", mask=tmp_path / "nowhere.npy")
    np.save(tmp_path / "far.npy", np.array([5, 10**7]))
    refused(folder, "far.npy does not fit the model", mask=tmp_path / "far.npy")
    np.save(tmp_path / "odd.npy", np.full(len(bald.mean), 2))
    refused(folder, "holds 0 and 1 only", mask=tmp_path / "odd.npy")
    np.save(tmp_path / "none.npy", np.zeros(len(bald.mean)))
    refused(folder, "no triangles are left of the face", mask=tmp_path / "none.npy")
    (tmp_path / "words.txt").write_text("no numbers\n")
    refused(folder, "words.txt cannot be read as numbers", mask=tmp_path / "words.txt")
    refused(folder, ".npy, .txt or .mat file is needed", mask=licensed.__file__)
