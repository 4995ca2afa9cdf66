"""Small wrong edits, each caught by a test: `python tests/mutations.py` makes them one by one in a copy and says which survive.

An entry, below, is a patch in small::

    # raster.py: columns where rows should be | test_raster.py -k plain_loop
    - what stands once in vrn_lite/raster.py
    + what is put in its place

The tests named must pass without the edit and fail with it, in a public clone: without face models to be fetched.
"""

import argparse
import gc
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PARTS = ("vrn_lite", "tests", "notebooks", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff")
LIBRARIES = (
    "pytest hypothesis nbval.plugin xdist.plugin pytest_cov.plugin torch.distributed.tensor torch._dynamo scipy.io"
    " scipy.spatial scipy.sparse.csgraph skimage.data skimage.measure skimage.transform trimesh PIL.Image requests pooch"
    " filelock safetensors.torch typer plotly.graph_objects"
).split()
PATIENCE = 300
"""Seconds after which an edit counts as survived: no test has said what is wrong."""

ENTRIES = r"""
# frame.py: voxel centres without their half | test_frame.py
- device=device) + 0.5 for size
+ device=device) for size

# frame.py: the pivot at half of the depth | test_frame.py -k pivot
- PIVOT_DEPTH = 0.48
+ PIVOT_DEPTH = 0.5

# mesh.py: fans wound the other way | test_mesh.py -k flat_wall
- (loop.roll(-1), loop,
+ (loop, loop.roll(-1),

# mesh.py: the shortest loop is the rim | test_mesh.py -k longest
- reverse=True
+ reverse=False

# mesh.py: a third of the determinants | test_mesh.py -k signed_volume
- sum((-2, -1)) / 6
+ sum((-2, -1)) / 3

# camera.py: yaw turns to the left | test_camera.py -k nose
- (cy, nil, sy, nil, one, nil, -sy, nil, cy)
+ (cy, nil, -sy, nil, one, nil, sy, nil, cy)

# camera.py: pitch before yaw | test_camera.py -k yaw_comes_first
- about_z @ about_x @ about_y
+ about_z @ about_y @ about_x

# camera.py: a motion back with its shift forward | test_camera.py -k there_and_back
- -(back @
+ (back @

# camera.py: rotations composed in the wrong order | test_camera.py -k composition
- other.rotation @ self.rotation
+ self.rotation @ other.rotation

# camera.py: depth mirrored, and with it the winding | test_camera.py -k without_mirroring and toy
- [1.0, -1.0, -1.0], device
+ [1.0, -1.0, 1.0], device

# camera.py: a crop of 90 px at every size | test_camera.py -k crop_scales and toy
- FACE_SIZE * grid.side / (high
+ FACE_SIZE * 192 / (high

# camera.py: the landmarks' mean in the middle, not their box | test_camera.py -k box_of_90 and toy
- (low + high) / 2, pivot
+ turned[..., :2].mean(1), pivot

# camera.py: shifts in the grid's own pixels | test_camera.py -k shifts_are
- shift * grid.side / 192
+ shift

# raster.py: the first centre after a corner, not from it on | test_raster.py -k lattice
- / SUBPIXELS).ceil_()
+ / SUBPIXELS).floor_() + 1

# raster.py: edges between pixel centres move left by one | test_raster.py -k plain_loop
- (step * SUBPIXELS)).ceil_()
+ (step * SUBPIXELS)).floor_()

# raster.py: coordinates are not snapped | test_raster.py -k plain_loop or exactly_once
- * SUBPIXELS).round_()
+ * SUBPIXELS)

# raster.py: one-sided triangles are seen from behind | test_raster.py -k one_sided
- (_doubled_area(corners) < 0)
+ (_doubled_area(corners) > 0)

# raster.py: the farthest fragment is seen | test_raster.py -k near_half
- (order << 32) + number
+ (-order << 32) + number

# raster.py: weights of two corners exchanged | test_raster.py -k reproduce_the_pixel
- (1 - b - c, b, c)
+ (1 - b - c, c, b)

# raster.py: weights at the pixel's corner | test_raster.py -k reproduce_the_pixel
- column + 0.5 - ax, row + 0.5 - ay
+ column - ax, row - ay

# raster.py: negative depths in the wrong order | test_raster.py -k nearest_equals
- -(order & 0x7FFFFFFF)
+ order

# raster.py: depths outside their triangle | test_raster.py -k own_range or exactly
- .clamp_(low, high)
+

# volume.py: a surface's axes in the volume's order | test_volume.py -k octahedron
- [:, ::-1] / (1.0
+ / (1.0

# volume.py: half a voxel off, from volume to surface | test_volume.py -k octahedron
- (indices - 0.5)
+ (indices - 1)

# volume.py: half a voxel off, from surface to volume | test_volume.py -k every_voxel_centre
- depth_scale - 0.5).ceil_
+ depth_scale).ceil_

# volume.py: a surface without the depth scale | test_volume.py -k octahedron
- (1.0, 1.0, depth_scale)
+ (1.0, 1.0, 1.0)

# volume.py: what lies behind the grid is put into its last slice | test_volume.py -k cut_off
- .clamp_(0, depth).long()
+ .clamp_(0, depth - 1).long()

# volume.py: what has been entered is never left | test_volume.py -k plain_loops
- volume[:, d] ^= volume
+ volume[:, d] |= volume

# volume.py: open meshes are filled | test_volume.py -k open_mesh
- if odd:
+ if odd > 10**9:

# volume.py: cut-off solids stay open | test_volume.py -k closed_and_face
- np.pad(values, 1)
+ np.pad(values, 1, mode="edge")

# volume.py: the level is ignored | test_volume.py -k ramp
- marching_cubes(padded, level)
+ marching_cubes(padded, 0.5)

# landmarks.py: two lower lids keep their numbers in a mirror | test_landmarks.py -k flip_twice
- 42, 47, 46]
+ 42, 46, 47]

# landmarks.py: mirrored landmarks keep their numbers | test_landmarks.py -k symmetric_face
- points[..., FLIP.to(points.device), :].clone()
+ points.clone()

# landmarks.py: mirrored at pixel numbers, not at the image's edge | test_landmarks.py -k symmetric_face
- width - flipped
+ width - 1 - flipped

# landmarks.py: Gaussians at the corners of their cells | test_landmarks.py -k closed_form
-  + 0.5 - points[..., axis
+  - points[..., axis

# landmarks.py: Gaussians with x and y exchanged | test_landmarks.py -k closed_form
- _exponents(points, axis, size, sigma).exp()
+ _exponents(points, 1 - axis, size, sigma).exp()

# landmarks.py: Gaussians of one spread | test_landmarks.py -k closed_form
- _exponents(points, axis, size, sigma).exp()
+ _exponents(points, axis, size, 1.0).exp()

# landmarks.py: heat-maps of one spread | test_landmarks.py -k gaussians_scaled
- _exponents(points, 0, width, sigma)
+ _exponents(points, 0, width, 1.0)

# landmarks.py: heat-maps decoded to the corners of their cells | test_landmarks.py -k hot_cell
- share.sum(-2) * (torch.arange(width, device=logits.device) + 0.5)
+ share.sum(-2) * (torch.arange(width, device=logits.device))

# landmarks.py: displaced landmarks turn the other way | test_landmarks.py -k displaced
- @ rotation.T + middle
+ @ rotation + middle

# networks/hourglass.py: no modules on the skip branch | test_networks.py -k runs_once
- self.skip(x) + F
+ x + F

# networks/hourglass.py: a residual module without its input | test_networks.py -k adds_to_its_input
- self.branch(x) + self.shortcut(x)
+ self.branch(x)

# networks/hourglass.py: a finer end that begins with noise | test_networks.py -k goes_on_from_where
- nn.init.zeros_(weights)
+ nn.init.normal_(weights)

# networks/hourglass.py: the first edition's shortcuts are lost | test_weights.py -k first_edition
- if f"{prefix}carry.{name}" in state_dict
+ if False

# networks/vrn.py: a stage without what it gets | test_networks.py -k stage_adds
- return x + super().forward(x)
+ return super().forward(x)

# networks/vrn.py: the ablation's sigma is the paper's | test_networks.py -k sigma_2
- sigma=2.0)
+ sigma=1.0)

# networks/vrn.py: a guided network forgets its sigma | test_networks.py -k sigma_2
- self.sigma, dtype)
+ 1.0, dtype)

# networks/vrn.py: a guided network answers with probabilities: sigmoid twice | test_networks.py -k no_probabilities
- self.run(self.inputs(images, landmarks))
+ self.run(self.inputs(images, landmarks)).sigmoid()

# networks/vrn.py: the unaligned variant learns from aligned pairs | test_data.py -k unaligned
- = "frontal"
+ = "aligned"

# networks/vrn.py: the paper's guided network has its VRN's modules | test_networks.py -k four_modules
- size.network.guided_modules or 0, sigma
+ 0, sigma

# networks/base.py: logits enlarged from corner to corner | test_networks.py -k enlarged
- align_corners=False
+ align_corners=True

# networks/base.py: the mean of the losses | test_base.py -k count_alike
- torch.stack(losses).sum()
+ torch.stack(losses).mean()

# networks/base.py: landmarks in pixels where cells are meant | test_base.py -k count_alike
- pairs.landmarks / cell
+ pairs.landmarks

# networks/base.py: found landmarks in cells where pixels are meant | test_networks.py -k pixels_of_the_image
- return images.shape[-1] / heatmaps.shape[-1] * decode
+ return decode

# networks/base.py: every seed gives the same weights | test_networks.py -k seed_only and vrn
- manual_seed(checked_seed(seed))
+ manual_seed(0)

# networks/base.py: the phase of the sampled loss is ignored | test_base.py -k phase
- pairs.volumes, phase)
+ pairs.volumes)

# networks/weights.py: weights are saved in float32 | test_weights.py -k float16
- value.half() if
+ value if

# networks/weights.py: statistics are saved in float16 | test_weights.py -k float16
-  and "running" not in name
+

# networks/weights.py: loaded networks stay in training mode | test_weights.py -k float16_precision
- or "cpu").eval()
+ or "cpu")

# networks/weights.py: a network's arguments are not saved | test_base.py -k keeps_its_sigma
- if network.arguments else {}
+ if False else {}

# networks/weights.py: weights of any preset fit | test_weights.py -k another_preset
- require(wanted == stored.name,
+ require(True,

# networks/regression.py: gradients run through all rounds | test_regression.py -k within_a_round
- before = found[-1].detached()
+ before = found[-1]

# networks/regression.py: the rotation's rows are its columns | test_regression.py -k become_a_rotation
- torch.linalg.cross(x, y)), -1)
+ torch.linalg.cross(x, y)), -2)

# networks/regression.py: expressions without their prior | test_base.py -k rounds_with_a_prior
-  + estimate.expression.square().mean()
+

# networks/regression.py: heads turn about their landmarks' mean | test_regression.py -k keeps_the_pivot
- -PIVOT_BEHIND_LANDMARKS * face.interocular])
+ 0.0])

# training/losses.py: rows and columns of a phase exchanged | test_losses.py -k phase
- top, left = phase // right % down, phase % right
+ top, left = phase % down, phase // down % right

# training/losses.py: a sum's gradient beside a mean's loss | test_losses.py -k enlarged
- gradient.div_(truth.numel())
+ gradient

# training/losses.py: a mean over the cells of a heat-map | test_losses.py -k information
- reduction="none").sum(-1).mean()
+ reduction="none").mean()

# training/losses.py: the plain L2 in pixels | test_losses.py -k vertices
- ((found - truth) / size).square()
+ (found - truth).square()

# training/losses.py: a sure error costs infinity | test_losses.py -k certain
- clamp_(max=1 - 2**-24)
+ clamp_(max=1)

# training/optim.py: AdamW's weight decay is never applied | test_optim.py -k weight_decay
- AdamW(weights, lr=self.lr, weight_decay=self.weight_decay)
+ AdamW(weights, lr=self.lr, weight_decay=0)

# training/optim.py: RMSProp's weight decay is never applied | test_optim.py -k weight_decay
- alpha=self.alpha, weight_decay=self.weight_decay
+ alpha=self.alpha

# training/optim.py: RMSProp's alpha is ignored | test_optim.py -k alpha
- lr=self.lr, alpha=self.alpha
+ lr=self.lr

# training/optim.py: averages without statistics | test_optim.py -k average_follows
- use_buffers=True
+ use_buffers=False

# training/optim.py: a warm-up that begins with nothing | test_optim.py -k warm
- (step + 1) / max(self.warm_up, 1)
+ step / max(self.warm_up, 1)

# training/optim.py: a cosine that rises | test_optim.py -k cosine or every_schedule
- (1 - cos(pi * left)) / 2
+ (1 + cos(pi * left)) / 2

# training/optim.py: the paper's rate drops a sample late | test_optim.py -k 40_epochs
- if seen < 1 - self.decay
+ if seen <= 1 - self.decay

# training/optim.py: rates fall to nothing | test_optim.py -k final_share
- (self.final + (1 - self.final) * left)
+ left

# training/loop.py: gradients are never clipped | test_optim.py -k clipped
- if self.optim.clip:
+ if False:

# training/loop.py: the rate stays where the optimiser began | test_optim.py -k rates_of_the_schedule
- self.optim.lr_at(self.step, self.seen())
+ self.optim.lr

# training/loop.py: gradients of all steps are added up | test_loop.py -k gradient_of_its_own
-                 self.optimiser.zero_grad()
-                 prediction
+                 prediction

# training/loop.py: training with the statistics of evaluation | test_loop.py -k predict_loss_backward
- self.network.train()
+ self.network.eval()

# training/loop.py: the average stays at the first weights | test_loop.py -k handed_out
- self.average.update_parameters(self.network)
+ self.average.update_parameters

# training/loop.py: the average is not handed out | test_loop.py -k handed_out
- self.network.load_state_dict(self.average.module.state_dict())
+ pass

# training/loop.py: one voxel of a cell stands for it at every step | test_loop.py -k other_voxels
- step_seed(self.seed, 0, self.step)
+ step_seed(self.seed, 0, 0)

# training/loop.py: the detector never guides | test_loop.py -k detector_guides
- or self.detector is None:
+ or True:

# training/loop.py: one's own loss is ignored | test_base.py -k own_loss
- if self.own_loss is not None:
+ if False:

# training/loop.py: minutes are seconds | test_loop.py -k clock_ends
- 60 * minutes if minutes
+ minutes if minutes

# training/loop.py: the rate does not fall with the clock | test_loop.py -k clock_ends
- max(self.step * self.each / self.samples, self.seconds / self.limit)
+ self.step * self.each / self.samples

# training/data.py: frontal streams give aligned pairs | test_data.py -k unaligned
- if self.target == "frontal" else pairs
+ if False else pairs

# training/data.py: a stream forgets the network's target | test_data.py -k unaligned
- poses=poses, target=network.target
+ poses=poses

# training/data.py: networks that may see no mirrored faces see some | test_data.py -k unmirrored
- poses = self.poses if network.mirrors else
+ poses = self.poses if True else

# training/data.py: they see them when a batch is used again | test_data.py -k no_mirrored_batch
- mirrors=self.mirrors and again
+ mirrors=again

# training/data.py: a mirrored batch keeps its landmarks | test_data.py -k other_side
- landmarks=mirror(pairs.landmarks, pairs.images.shape[-1])
+ landmarks=pairs.landmarks

# training/data.py: all processes draw the same samples | test_data.py -k of_its_own
- [step, rank, seed]
+ [step, 0, seed]

# training/data.py: training reaches the held-out seeds | test_data.py -k of_its_own or held_out
- generate_state(1)[0]) >> 1
+ generate_state(1)[0])

# training/data.py: only the first stream is used | test_data.py -k own_turns
- self.streams[mine](own
+ self.streams[0](own

# training/data.py: poses and looks of a face are ignored | test_data.py -k looks
- appearance or Appearance(), poses or
+ Appearance(), False or

# training/data.py: a stream counts the steps of the others too | test_data.py -k own_turns
- self.streams[mine](own
+ self.streams[mine](step

# training/checkpoint.py: the optimiser begins anew | test_checkpoint.py -k bit_for_bit and 0.5
- trainer.optimiser.load_state_dict(state["optimiser_state"])
+ pass

# training/checkpoint.py: the steps begin anew | test_checkpoint.py -k bit_for_bit and 0.5
- = state["step"], state["nme"]
+ = 0, state["nme"]

# training/checkpoint.py: the measured error is forgotten | test_checkpoint.py -k bit_for_bit and 0.5
- = state["step"], state["nme"]
+ = state["step"], 0.0

# training/checkpoint.py: the average begins anew | test_checkpoint.py -k bit_for_bit and 0.5
- trainer.average.load_state_dict(state["average"])
+ pass

# training/checkpoint.py: the weights begin anew | test_checkpoint.py -k bit_for_bit and 0.5
- trainer.network.load_state_dict(state["network"])
+ pass

# training/checkpoint.py: the clock begins anew | test_loop.py -k clock_ends
- state.get("seconds", 0.0)
+ 0.0

# training/checkpoint.py: checkpoints of other runs are continued | test_checkpoint.py -k another_run
- require(value == mine[name],
+ require(True,

# training/log.py: a repeated step stands twice in the table | test_log.py -k continues
- split(",")[0]) < step
+ split(",")[0]) <= step

# training/log.py: rows cut short are read | test_log.py -k cut_short
- if len(line) == len(COLUMNS)]
+ if len(line)]

# training/log.py: a resumed run begins its table anew | test_log.py -k continues
- *kept, ""]
+ ""]

# training/runtime.py: bfloat16 everywhere | test_loop.py -k predict_loss_backward
- enabled=quick_in_bfloat16(self.device)
+ enabled=True

# training/runtime.py: every process draws for itself, with all threads | test_runtime.py -k half_of_the_threads
- max(1, torch.get_num_threads() // 2)
+ max(1, torch.get_num_threads())

# files.py: a half-written file takes the old one's place | test_files.py -k failing
- path.with_name(f"{path.name}.{os.getpid()}.part")
+ path

# files.py: what others are writing is swept away | test_files.py -k sweep
-  and not _runs(int(writer[1]))
+

# downloads.py: the sum is not checked | test_downloads.py -k unknown_file
- registry=dict(source.sums)
+ registry=dict.fromkeys(source.sums)

# downloads.py: a cut connection ends the download | test_downloads.py -k second_try
- store.retry_if_failed = source.retries
+ store.retry_if_failed = 0

# downloads.py: two at once do not wait | test_downloads.py -k two_at_once
- lock.acquire()
+ lock.acquire

# downloads.py: source files are left behind | test_downloads.py -k converted_once
- shutil.rmtree(folder)
+ shutil.rmtree

# samples.py: a mirrored mesh is inside out | test_samples.py -k facing_outward
- triangles=mesh.triangles.flip(1)
+ triangles=mesh.triangles

# samples.py: a mirrored mesh keeps its landmarks' numbers | test_samples.py -k landmarks_are_those_of_the_truth_renumbered
- mesh.landmarks[FLIP.to(mesh.landmarks.device)]
+ mesh.landmarks

# samples.py: volumes are not mirrored | test_samples.py -k voxelized_truth and not unaligned
- pairs.volumes[flip] = pairs.volumes[flip].flip(-1)
+ pass

# samples.py: images are not mirrored | test_samples.py -k mirror_image_of_the_plain
- pairs.images[pairs.mirrored] = pairs.images[pairs.mirrored].flip(-1)
+ pass

# samples.py: pitches are not clipped | test_samples.py -k pitch_is_clipped
- .clamp(-poses.pitch_most, poses.pitch_most)
+

# samples.py: samples are not turned in the plane | test_samples.py -k papers_ranges
- rng.uniform(-poses.angle, poses.angle)
+ rng.uniform(0, 0)

# samples.py: a finder's crop is a right one | test_samples.py -k finders_crops
- rng.uniform(*FINDER_ZOOM).exp()
+ rng.uniform(1, 1)

# samples.py: frontal targets are not mirrored | test_samples.py -k mirrored_unaligned
- return _flip_targets(replace(pairs
+ return (replace(pairs

# inference.py: shifted answers are shifted once more | test_inference.py -k follows_its_image
- shift(answer, -x, -y)
+ shift(answer, x, y)

# inference.py: guides stay where the image is shifted | test_inference.py -k go_with_the_image
- points + points.new_tensor([x, y])
+ points

# inference.py: guides are not mirrored | test_inference.py -k go_with_the_image
- mirror(moved, images.shape[-1])
+ moved

# inference.py: frontal answers are shifted | test_inference.py -k stays_as_it_is
- network.target == "aligned"
+ True

# inference.py: a sigmoid of probabilities | test_inference.py -k mean_over_all
- .sigmoid().float()
+ .sigmoid().sigmoid().float()

# inference.py: found landmarks of the mirror image keep their numbers | test_inference.py -k found_landmarks
- mirror(detector.landmarks(images.flip(-1)), images.shape[-1])
+ detector.landmarks(images.flip(-1))

# align.py: a rigid motion with a scale | test_align.py -k never_scales
- Similarity(torch.ones_like(goal[:, 0, 0]),
+ Similarity((target - goal).norm(dim=(1, 2)) / (source - middle).norm(dim=(1, 2)),

# align.py: ICP with a scale | test_align.py -k icp_never_scales
- spread @ partners)[None])[0]
+ spread @ partners)[None])[0] * (np.linalg.norm(spread) / np.linalg.norm(partners - partners.mean(0)))

# align.py: rotations may be reflections | test_align.py -k never_reflects
- torch.linalg.det(u @ vt).sign()
+ 1.0

# metrics.py: the normaliser between the inner corners of the eyes | test_metrics.py -k normaliser
- landmarks[..., 36, :] - landmarks[..., 45, :]
+ landmarks[..., 39, :] - landmarks[..., 42, :]

# metrics.py: the normaliser is flat | test_metrics.py -k normaliser
- landmarks[..., 36, :] - landmarks[..., 45, :]
+ landmarks[..., 36, :2] - landmarks[..., 45, :2]

# metrics.py: the NME of the aligned prediction | test_metrics.py -k moved_along_x
- found[match.pairs] - goal, moved
+ moved[match.pairs] - goal, moved

# metrics.py: vertices outside the face count | test_metrics.py -k mask
- goal[truth.face.cpu()]
+ goal

# metrics.py: two empty solids have nothing in common | test_metrics.py -k empty
- (shared + (union == 0))
+ shared

# metrics.py: errors beyond the limit count below nothing | test_metrics.py -k error_curve
- (1 - errors / limit).clamp(min=0)
+ (1 - errors / limit)

# synth/appearance.py: all streams are one | test_appearance.py -k one_name or no_other
- f"{self.seed} {name}"
+ f"{self.seed}"

# synth/appearance.py: who is chosen of the chosen gets others' numbers | test_appearance.py -k whoever_is_chosen
- self.chosen[index]
+ index

# synth/degradations.py: files are not quantised | test_degradations.py -k compression
- torch.round(cosines @ blocks @ cosines.T / steps)
+ (cosines @ blocks @ cosines.T / steps)

# synth/degradations.py: cosines that are not orthonormal | test_degradations.py -k cosine_matrix
- torch.where(k == 0,
+ torch.where(k == 1,

# synth/degradations.py: quality is turned round | test_degradations.py -k compression
- 200 - 2 * quality
+ 2 * quality

# synth/degradations.py: blurs of one width | test_degradations.py -k blurred_dot
- sigma[:, None].clamp(min=0.05)
+ (0 * sigma[:, None] + 1)

# synth/degradations.py: every picture has a snapshot's faults | test_degradations.py -k rough
- torch.where(rough > 0, fault.rough, fault.snapshot)
+ torch.where(rough > 1, fault.rough, fault.snapshot)

# synth/degradations.py: faults come in another order | test_degradations.py -k order_of_the_table
- for fault in DEGRADATIONS:
+ for fault in reversed(DEGRADATIONS):

# synth/occluders.py: the factor of occluders is ignored | test_occluders.py -k as_often
- thing.share * appearance.occluders
+ thing.share

# synth/occluders.py: occluders cover what they should leave | test_occluders.py -k small_part
- (reach < 1)[:, None]
+ (reach > 1)[:, None]

# synth/background.py: the factor of surroundings is ignored | test_background.py -k smooth_wall
- layer.share * appearance.surroundings
+ layer.share

# synth/eyewear.py: what stands before glasses does not hide them | test_eyewear.py -k hidden
- plane < depth + 0.1
+ plane < torch.inf + 0.1

# synth/eyewear.py: glasses without the strength of their tint | test_eyewear.py -k clear
- (glass * opaque)[:, None]
+ glass[:, None]

# synth/hair.py: transparent pieces of a card are seen | test_hair.py -k alpha
- [:, 3] >= 0.5
+ [:, 3] >= 0.0

# synth/hair.py: a bald head's shell stands off | test_hair.py -k below_the_skin
- -0.03 * scalp.outward
+ 0.03 * scalp.outward

# synth/render.py: haircuts behind the skin are seen | test_render.py -k haircut_behind
- depth < behind[pixel]
+ depth > -behind[pixel]

# synth/render.py: normals point inward | test_render.py -k point_outward
- (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
+ (uz * vy - uy * vz, ux * vz - uz * vx, uy * vx - ux * vy)

# synth/render.py: the sky is brighter from below | test_render.py -k sky
- 1 - 0.25 * seen.normal[:, 1:2]
+ 1 + 0.25 * seen.normal[:, 1:2]

# synth/render.py: lamps shine from below | test_render.py -k lamps
- [0.0, -0.5, -1.0]
+ [0.0, 0.5, -1.0]

# synth/render.py: the harmonics of degree 1 too small | test_render.py -k clamped_cosine
- axis * (1 / 2) ** 0.5
+ axis * (1 / 3) ** 0.5

# synth/render.py: red stays, blue goes far under the skin | test_render.py -k under_the_skin
- [1.0, 0.6, 0.4]
+ [0.4, 0.6, 1.0]

# synth/skin.py: the skins kept out of training are worn in it | test_complexion.py -k kept_out or training_wears
- allowed_skins(appearance.heldout)
+ allowed_skins(True)

# synth/skin.py: the factor of make-up is ignored | test_complexion.py -k make_up
- spot.share * appearance.make_up
+ spot.share

# faces/morphable.py: eyes look apart | test_morphable.py -k same_way
- "eyeLookIn": "eyeLookOut", "eyeLookOut": "eyeLookIn"
+ "eyeLookIn": "eyeLookIn", "eyeLookOut": "eyeLookOut"

# faces/morphable.py: left and right are two movements | test_morphable.py -k mostly_alike
- name.removesuffix("_L").removesuffix("_R")
+ name.removesuffix("_L")

# faces/morphable.py: mouths stay closed | test_morphable.py -k jaw
- {"jawOpen": 0.45}
+ {"jawOpen": 0.05}

# faces/morphable.py: no face is neutral | test_morphable.py -k neutral
- > 1 / 7
+ > 0

# faces/morphable.py: expressions without what they presuppose | test_morphable.py -k needs
- expression[..., capped].minimum(expression[..., cap])
+ expression[..., capped]

# faces/morphable.py: identities without bounds | test_morphable.py -k cut_at_three
- .clamp_(-3, 3)
+

# faces/morphable.py: the wall a tenth too near | test_morphable.py -k wall_stands
- 2].mean(-1) - self.interocular
+ 2].mean(-1) - 0.9 * self.interocular

# faces/morphable.py: hair bounds the solid | test_morphable.py -k leaves_the_solid
- torch.zeros(len(roots), dtype=torch.bool)
+ torch.ones(len(roots), dtype=torch.bool)

# faces/procedural/__init__.py: expressions under each other's names | test_procedural.py -k blink or jaw or smile
- tuple(map(str, arrays["expression_names"]))
+ tuple(map(str, arrays["expression_names"][::-1]))

# faces/procedural/__init__.py: lengths twice as coarse | test_procedural.py -k rounding
- STEP = 2.0**-16
+ STEP = 2.0**-15

# faces/procedural/modes.py: lids that do not meet | test_procedural.py -k bit_for_bit
- above = upper * smooth
+ above = 0.9 * upper * smooth

# faces/procedural/modes.py: the lower teeth stay | test_procedural.py -k bit_for_bit
- weight[head.part("lower teeth")] = 1
+ weight[head.part("lower teeth")] = 0

# evaluation/testsets.py: expressions on the left side alone | test_testsets.py -k both_sides_alike
- .removesuffix("_L").removesuffix("_R")
+ .removesuffix("_L")

# evaluation/evaluate.py: a slice behind the pivot counts as front | test_evaluate.py -k front_slices
- * grid.depth_scale - 0.5)
+ * grid.depth_scale + 0.5)

# photo/image_io.py: transparent is black | test_image_io.py -k transparent_is_white
- image.size, "white")
+ image.size, "black")

# photo/image_io.py: alpha of arrays is left out | test_image_io.py -k transparent or number_type
- values[..., 3:].astype(np.uint16)
+ 255 + 0 * values[..., 3:].astype(np.uint16)

# photo/image_io.py: EXIF is not read | test_image_io.py -k exif
- ImageOps.exif_transpose(image)
+ image

# photo/reconstruct.py: smoothing ignores the depth scale | test_reconstruct.py -k thin_slabs
- (smooth * grid.depth_scale, smooth, smooth)
+ (smooth, smooth, smooth)

# photo/reconstruct.py: colours half a pixel off | test_reconstruct.py -k face_the_viewer
- points[:, 1] - 0.5, points[:, 0] - 0.5
+ points[:, 1], points[:, 0]

# photo/reconstruct.py: what is hidden is painted with what hides it | test_reconstruct.py -k stands_behind
-  * _in_front(surface, grid)
+

# photo/reconstruct.py: the smallest part is the face | test_reconstruct.py -k crumbs
- np.bincount(label).argmax()
+ np.bincount(label).argmin()

# cli.py: what a user got wrong ends with exit code 1 | test_cli.py -k missing_photograph
- code: int = 2)
+ code: int = 1)

# cli.py: train ignores --seed | test_cli.py -k every_option_of_train
- "seed": seed,
+ "seed": 0,

# cli.py: train ignores --optim | test_cli.py -k every_option_of_train
- "optim": optim,
+ "optim": "fast",

# cli.py: train ignores --reuse | test_cli.py -k every_option_of_train
- "reuse": reuse,
+ "reuse": 1,

# cli.py: train ignores --preset | test_cli.py -k every_option_of_train
- build(variant, preset, seed
+ build(variant, "lite", seed

# networks/vrn.py: a hourglass that is built and never used | test_base.py -k moves_every_parameter and multitask
- x = self.shared(x)
+ pass

# datasets/w300lp.py: photographs' rows counted from below | test_w300lp.py -k authors_code_puts
- height + 0.5 - y, -z
+ y, -z

# datasets/w300lp.py: half a pixel off in photographs | test_w300lp.py -k half_a_pixel
- torch.stack((x - 0.5, height
+ torch.stack((x - 1.5, height

# datasets/w300lp.py: real training pairs are not jittered | test_w300lp.py -k reproducible_and_jittered
- interocular, grid, motion, mirrored)
+ interocular, grid, None, mirrored)

# evaluation/testsets.py: the held-out set is drawn with jitter | test_testsets.py -k nothing_is_jittered
- poses: PoseRange = NO_JITTER
+ poses: PoseRange = PoseRange()

# evaluation/testsets.py: held-out seeds among training's | test_testsets.py -k bits_that_count
- return 2**31 + (seed
+ return (seed

# evaluation/testsets.py: another identity in every pose | test_testsets.py -k one_shape
- self.identity(face, seed, person) for person, _
+ self.identity(face, seed, pose) for _, pose

# evaluation/testsets.py: a larger detector's landmarks in its own pixels | test_testsets.py -k another_size
- points.to(pairs.images) / larger
+ points.to(pairs.images)

# evaluation/predictors.py: the true landmarks guide whoever was asked for | test_predictors.py -k landmarks_that_guide
- guide = landmarks(pairs) if landmarks else None
+ guide = pairs.landmarks if landmarks else None

# evaluation/predictors.py: mirrored faces are reposed as if they were not | test_predictors.py -k reposed_too
- if flip else [[1, 1, 1]
+ if False else [[1, 1, 1]

# evaluation/predictors.py: copies are averaged where none are asked for | test_evaluate.py -k taken_or_left
- pairs.images, test_time_augmentation, guide)
+ pairs.images, True, guide)

# evaluation/evaluate.py: frontal answers are judged in the image's frame | test_evaluate.py -k unaligned_network
- truths = {"aligned": pairs}
+ truths = {"aligned": pairs, "frontal": pairs}

# evaluation/evaluate.py: the last bin of yaw without its edge | test_evaluate.py -k bins_of_yaw
- np.nextafter(edges[-1], inf)
+ edges[-1]

# evaluation/evaluate.py: intervals of 90 % | test_evaluate.py -k intervals
- (0.025, 0.975)
+ (0.05, 0.95)

# cli.py: evaluate ignores --seed | test_cli.py -k asks_as_it_is_told
- named_set(name, face, count, seed)
+ named_set(name, face, count)

# cli.py: evaluate ignores --no-average | test_cli.py -k asks_as_it_is_told
- default_predictors(networks, testset, test_time_augmentation=average)
+ default_predictors(networks, testset)

# photo/crop.py: a face of 90 pixels in crops of every size | test_crop.py -k 90_of_192
- FACE_SIZE * grid.side / ((x1
+ FACE_SIZE * 192 / ((x1

# photo/crop.py: boxes are x, y, width, height | test_crop.py -k 90_of_192
- = (float(value) for value in numbers)
+ = (float(value) for value in numbers + [0, 0, *numbers[:2]])

# photo/crop.py: a turned face is turned once more | test_crop.py -k cropped_upright
- none, none, none - angle)
+ none, none, none + angle)

# photo/crop.py: crops half a pixel off | test_crop.py -k crop_pixel_shows
- (size / 2 - shift) @ turn / zoom
+ (size / 2 - shift) @ turn / zoom + 0.5

# photo/crop.py: black beyond the photograph | test_crop.py -k edge_is_repeated
- mode="edge"
+ mode="constant"

# photo/crop.py: landmarks of any size are believed | test_crop.py -k implausible
- return 1 / MOST_ZOOM < ratio < MOST_ZOOM and
+ return

# photo/exports.py: meshes in files are mirrored | test_exports.py -k load_again_upright
- (scale, -scale, -scale)
+ (scale, -scale, scale)

# photo/exports.py: STL in metres | test_exports.py -k in_metres
- apply_scale(1000)
+ apply_scale(1)

# photo/exports.py: colours of glTF as the screen has them | test_exports.py -k load_again_upright
- screen <= 0.04045, screen / 12.92, (
+ screen <= 1, screen, (

# photo/exports.py: all bands of a depth map show its first one | test_exports.py -k front_of_the_ball
- torch.tensor([left, start, 0.0])
+ torch.tensor([left, top, 0.0])

# photo/exports.py: far is bright in a depth map's PNG | test_exports.py -k both_files_agree
- (far - depth) / max
+ (depth - near) / max

# photo/image_io.py: the lower byte of 16 bits | test_image_io.py -k sixteen
- values // 257 if
+ values % 256 if

# photo/image_io.py: as many pixels as there are | test_image_io.py -k more_pixels
- require(image.size[0] * image.size[1] <= MOST_PIXELS, many)
+ pass
"""


class Mutation(NamedTuple):
    """A wrong edit of `file` (in vrn_lite/), what it is, and the tests that catch it: a file, and words of their names."""

    file: str
    name: str
    tests: str
    words: str
    old: str
    new: str

    @property
    def path(self) -> str:
        """From the root of the project."""
        return f"vrn_lite/{self.file}"

    def of(self, source: str) -> str:
        """The source with the edit; it must hold the old text once."""
        if source.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.path}, {self.name}: found {source.count(self.old)} times: {self.old}")
        return source.replace(self.old, self.new)


def parsed(text: str) -> list[Mutation]:
    """The entries of a text in the form above."""
    found = []
    for block in f"\n{text}".split("\n# ")[1:]:
        heading, *lines = block.splitlines()
        file, rest = heading.split(": ", 1)
        name, tests = rest.split(" | ")
        tests, _, words = tests.partition(" -k ")
        old, new = ("\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+")
        found.append(Mutation(file, name, tests, words, old, new))
    return found


MUTATIONS = parsed(ENTRIES)


def _test(folder: Path, arguments: list[str]) -> None:
    """In a process of its own: run tests of a copy; it ends with 10 and pytest's code, for 1 is Python's own."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = False
    gc.freeze()
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import pytest

    # Its plugins are imported before it asks for them; laws must notice, not only the checks of shapes.
    alone = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-o", "addopts=", "-p", "no:cacheprovider"]
    sys.exit(10 + pytest.main(["-x", "-q", "-n", "0", *alone, *arguments]))


class Copy:
    """A copy of the project in a folder, in which tests are run as in a public clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, folder / part)
        for name in [name for name in os.environ if name.startswith("VRN_LITE_")]:
            del os.environ[name]
        os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1", "EAGER_IMPORT": "1"}
        os.environ.pop("PYTHONPATH", None)
        self.context = get_context("forkserver")  # every run starts with the libraries imported
        self.context.set_forkserver_preload(LIBRARIES)

    def outcome(self, tests: str, words: str = "") -> str:
        """What becomes of tests: "pass", "fail", "cannot be run", "take too long"."""
        process = self.context.Process(target=_test, args=(self.folder, [f"tests/{tests}", "-k", words]))
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            return "take too long"
        return {10: "pass", 11: "fail"}.get(process.exitcode or 0, "cannot be run")

    def outcome_with(self, mutation: Mutation) -> str:
        """What becomes of its tests with the edit; the copy is left as it was."""
        path = self.folder / mutation.path
        source = path.read_text()
        try:
            path.write_text(mutation.of(source))
            _forget(path)
            return self.outcome(mutation.tests, mutation.words)
        finally:
            path.write_text(source)
            _forget(path)


def _forget(path: Path) -> None:
    """Remove a module's byte code, which is only as new as the second of its writing."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="entries whose file or name holds this text")
    parser.add_argument("--list", action="store_true", help="list the entries, run nothing")
    parser.add_argument("--jobs", type=int, default=1, help="files of tests that are run at a time")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if options.only in f"{m.file}: {m.name}"]
    if options.list:
        print(*(f"{m.file:28} {m.name:62} {m.tests} -k {m.words}" for m in chosen), sep="\n")
        return 0
    for mutation in chosen:
        mutation.of((ROOT / mutation.path).read_text())
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        free: Queue[Copy] = Queue()
        for number in range(options.jobs):
            free.put(Copy(Path(folder) / str(number)))
        caught = sum(pool.map(partial(judge, chosen, free), sorted({m.tests for m in chosen})))
    minutes = (time.perf_counter() - began) / 60
    print(f"{len(chosen)} edits: {caught} caught, {len(chosen) - caught} survived, in {minutes:.1f} minutes")
    return int(caught < len(chosen))


def judge(chosen: list[Mutation], free: "Queue[Copy]", tests: str) -> int:
    """Make the edits that a file of tests should catch, if it passes without them, and print what becomes of each; how many are caught."""
    copy, caught = free.get(), 0
    group = [mutation for mutation in chosen if mutation.tests == tests]
    words = sorted({f"({m.words})" for m in group if m.words})
    before = copy.outcome(tests, " or ".join(words) if all(m.words for m in group) else "")
    for mutation in group:
        start = time.perf_counter()
        outcome = copy.outcome_with(mutation) if before == "pass" else f"{before} without the edit"
        caught += outcome == "fail"
        word = "caught  " if outcome == "fail" else f"SURVIVED (tests {outcome})"
        print(f"{word} {time.perf_counter() - start:5.1f} s  {mutation.file:28} {mutation.name}", flush=True)
    free.put(copy)
    return caught


if __name__ == "__main__":
    sys.exit(main())
