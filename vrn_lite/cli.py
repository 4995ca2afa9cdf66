"""The command line: ``vrn-lite reconstruct | prepare | train | evaluate | reproduce | models | preview | fetch | bench``.

What a user got wrong ends in one line on standard error and exit code 2.
"""

import hashlib
import json
import os
import sys
from collections import Counter, deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="3D faces from single photographs by volumetric regression.",
    pretty_exceptions_enable=False,
)

Faces = Annotated[
    str, typer.Option(help="Where faces come from: procedural, ict, or auto (ict where it has been fetched).")
]
Skins = Annotated[
    bool, typer.Option("--skins", help="Photographed skins, eyes and haircuts, after `vrn-lite fetch skins`.")
]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run the command; what a user got wrong becomes one line on standard error and exit code 2."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # before PyTorch: threads that spin stand still on busy machines
    try:
        code = app(arguments, prog_name="vrn-lite", standalone_mode=False)
    except KeyboardInterrupt:
        code = _complain("interrupted", 130)
    except Exception as error:
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """The exit code for an `InputError` or a wrong command line, with its line printed; anything else is raised again."""
    from vrn_lite.frame import InputError

    if type(error).__name__ == "Abort":
        return _complain("interrupted", 130)
    if hasattr(error, "format_message"):  # typer's own: its classes have moved between versions, this method has not
        return _complain(f"{error.format_message()} (see vrn-lite --help)") if error.format_message() else 2
    if isinstance(error, InputError):
        return _complain(str(error))
    raise error


def _complain(message: str, code: int = 2) -> int:
    """One line on standard error, whatever the message holds."""
    print(f"vrn-lite: {' '.join(message.split())}", file=sys.stderr)
    return code


@app.command()
def reconstruct(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PHOTO]...", help="Photographs, folders of them, videos; none: scikit-image's astronaut."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    formats: Annotated[
        str, typer.Option("--format", help="Of obj, ply, glb, stl, html, depth, volume, landmarks; several with commas.")
    ] = "obj,ply,glb,html",
    faces: Annotated[str, typer.Option(help="The largest one of each photograph, or all.")] = "one",
    units: Annotated[str, typer.Option(help="Of meshes: metres, centred; or pixels, in the photograph's place.")] = "metres",
    model: Annotated[
        str | None, typer.Option(help="vrn, multitask, guided... or a .safetensors file; the best by default.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Finds landmarks: landmarks, multitask or a .safetensors file; none: what ships.")
    ] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="Of one photograph's face: brows to chin, ear to ear, in pixels."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of videos and animations only each so-many-th frame.")] = 1,
    finder: Annotated[
        str | None, typer.Option(help="Finds faces: embedded, cascade, or yunet after `vrn-lite fetch finder`; by default two of them.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on with doubtful faces.")] = False,
) -> None:
    """Turn photographs into 3D faces: NAME.obj, NAME.ply, NAME.glb and NAME.html each, or the files of --format.

    Further faces of one name are NAME-2, NAME-3... What cannot be read or has no face does not stop the others: the exit
    code is 1 if there were such, 2 if nothing worked.
    """
    import skimage.data
    from tqdm import tqdm

    from vrn_lite.frame import InputError, require
    from vrn_lite.photo.exports import Format, Units
    from vrn_lite.photo.image_io import UnreadableError
    from vrn_lite.photo.many import photo_files, reconstruct_all
    from vrn_lite.photo.reconstruct import networks_for, reconstruct as reconstruct_one

    kinds, jobs = formats.split(","), list(photo_files(photos or [("astronaut", skimage.data.astronaut())]))
    for kind in kinds:
        require(kind in tuple(Format), f"unknown format {kind!r}: choose of {', '.join(Format)}")
    require(units in tuple(Units), f"unknown units {units!r}: choose {' or '.join(Units)}")
    require(box is None or len(jobs) == 1, f"--box belongs to one photograph, got {len(jobs)}: run them one at a time")
    (network, finds), found, failed, stems = networks_for(model, detector), 0, Counter[bool](), set[str]()

    def refused(_: str, error: InputError) -> None:
        failed[isinstance(error, UnreadableError)] += 1
        with bar.external_write_mode():
            _complain(str(error))

    with tqdm(jobs, unit=" photographs", disable=None if len(jobs) > 1 else True) as bar:
        if box is None:
            options: dict[str, Any] = {"faces": faces, "detector": finds, "every": every, "finder": finder, "force": force}
            results = reconstruct_all(bar, network, on_refused=refused, **options)
        else:
            name, photo = jobs[0] if isinstance(jobs[0], tuple) else (str(jobs[0]), jobs[0])
            results = iter([replace(reconstruct_one(photo, network, box, detector=finds), name=name)])
        for face in results:
            found, stem = found + 1, _free(Path(face.name.split(" (frame ")[0]).stem, stems)
            written = face.save(out / stem, kinds, units)
            sure = "" if face.confidence is None else f", confidence {face.confidence:.2f}"
            with bar.external_write_mode():
                print(*written, sep="\n", flush=True)
                corners = " ".join(f"{value:.0f}" for value in face.box)
                _say(f"{face.name}: face at {corners}{sure}, in {stem}.*", 0)
    if len(jobs) > 1:
        told = f"{failed[False]} without a face, {failed[True]} unreadable"
        _say(f"{len(jobs)} photographs: {found} faces found; {told}", 0)
    raise typer.Exit(0 if not failed else 1 if found else 2)


def _free(stem: str, taken: set[str]) -> str:
    """A name for files that no other result of this run has: STEM, STEM-2, STEM-3..."""
    number, name = 1, stem
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.lower())
    return name


@app.command()
def prepare(
    what: Annotated[
        str, typer.Argument(metavar="300w-lp", help="The set: 300w-lp, or any photographs with such .mat files.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Its photographs, with NAME.mat beside each NAME.jpg.")],
    out: Annotated[Path, typer.Option(metavar="CACHE", help="Folder of the shards; what is there already is kept.")],
    basel: Annotated[
        Path | None,
        typer.Option(metavar="MODELS", help="Folder of the Basel model's files; without it, landmarks alone."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="File that tells the face's vertices of the Basel model.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all processors by default.")] = None,
) -> None:
    """Prepare photographs for `train --data CACHE`; may be stopped and goes on where it was.

    What cannot be read is left out, and told in CACHE/left_out.txt.
    """
    from tqdm import tqdm

    from vrn_lite.datasets.photographs import prepare as run
    from vrn_lite.faces import basel as read_model
    from vrn_lite.frame import require

    require(what == "300w-lp", f"unknown set {what!r}: 300w-lp can be prepared")
    require(basel is not None or mask is None, "--mask belongs to the Basel model: pass --basel too")
    face = None if basel is None else read_model(basel, mask)
    with tqdm(unit=" shards", desc=str(out)) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = run(folder, out, face, workers=workers, on_progress=on_progress)
    lost = f", {len(made.left_out)} left out ({out / 'left_out.txt'})" if made.left_out else ""
    _say(f"{made.faces} faces, {made.size / made.faces / 1024:.1f} KiB a face{lost}", 0)
    print(out)


@app.command()
def train(
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VARIANT]...",
            help="vrn (default), multitask, guided, landmarks, unaligned, guided_sigma2, parameters or vertices; several are trained in turn.",
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="tiny, lite, colab, sharp, paper or paper_full.")] = "lite",
    samples: Annotated[
        int | None, typer.Option(min=1, help="How many faces each is to see; 20,000 unless --minutes is given.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop then; the rate falls to that end. Several variants share them.")
    ] = None,
    reuse: Annotated[
        int, typer.Option(min=1, help="How many steps see each drawn batch, mirrored and recoloured.")
    ] = 1,
    batch: Annotated[int | None, typer.Option(min=1, help="Faces a step and process; the preset's by default.")] = None,
    optim: Annotated[str, typer.Option(help="fast, or the paper's.")] = "fast",
    seed: Annotated[int, typer.Option(help="Of weights and faces.")] = 0,
    faces: Annotated[
        str, typer.Option(help="procedural, ict, both in turn, or auto (ict where it has been fetched).")
    ] = "auto",
    skins: Skins = False,
    data: Annotated[
        Path | None, typer.Option(metavar="CACHE", help="Photographs that `prepare` made, in place of drawn faces.")
    ] = None,
    mix: Annotated[float, typer.Option(min=0, max=1, help="Share of drawn faces beside --data's photographs.")] = 0.0,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Begin with these weights, where they fit; shipped: those of the variant itself."
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Guides guided networks in every second face; by default the landmark network trained before, if any."
        ),
    ] = None,
    resume: Annotated[
        Path, typer.Option(help="Folder of checkpoint, log and weights; a checkpoint there is continued.")
    ] = Path("out/train"),
    checkpoint: Annotated[bool, typer.Option(help="Write checkpoints, which are large, and resume them.")] = True,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints.")] = 180,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write metrics for TensorBoard too.")] = False,
    compile: Annotated[bool | None, typer.Option(help="Use torch.compile; by default on a GPU only.")] = None,
) -> None:
    """Train networks on faces made on the fly; ends with weights that `reconstruct --model` takes.

    Several variants are trained in turn, each in a folder of its own below --resume: for example
    vrn-lite train landmarks guided vrn --preset sharp --minutes 12 --no-checkpoint

    On several GPUs: torchrun --nproc-per-node 8 -m vrn_lite.cli train ...
    """
    from vrn_lite.frame import require
    from vrn_lite.networks.base import build, finds_landmarks, variant_named
    from vrn_lite.networks.weights import save_weights, start_from
    from vrn_lite.training.data import faces_of
    from vrn_lite.training.log import logged, on_tensorboard
    from vrn_lite.training.loop import train as run
    from vrn_lite.training.runtime import default_device, process_group

    chosen = variants or ["vrn"]
    for variant in chosen:
        variant_named(variant)
    require(len(set(chosen)) == len(chosen), f"a variant is named twice: {', '.join(chosen)}")
    pairs, named = _pairs(data, mix, faces, skins, preset, seed)
    guide: Any = None if detector is None else _detector(detector).to(default_device())
    told = {"data": named, "photographs": skins, "seed": seed}
    options: dict[str, Any] = {
        "samples": samples or (None if minutes else 20_000),
        "minutes": minutes and minutes / len(chosen),
    }
    options |= {
        "reuse": reuse,
        "batch": batch,
        "seed": seed,
        "optim": optim,
        "compile": compile,
        "save_every": save_every,
    }
    with process_group() as ranks:
        for variant in chosen:
            network = build(variant, preset, seed, face=next(iter(faces_of(pairs)), None))
            if start is not None:
                fitting, all_of = start_from(network, variant if start == "shipped" else start)
                _say(f"{variant}: {fitting} of {all_of} tensors taken from {start}", ranks.rank)
            folder = resume if len(chosen) == 1 else resume / variant
            _make(folder)
            guided: dict[str, Any] = {"detector": guide} if network.guided else {}
            steps = run(network, pairs, folder=folder if checkpoint else None, **options, **guided)
            if ranks.rank == 0:  # the other processes only take part
                steps = logged(on_tensorboard(steps, folder) if tensorboard else steps, folder / "log.csv")
                steps = _shown(steps, options["samples"])
            last = deque(steps, maxlen=50)
            if finds_landmarks(network.eval()) and detector is None:
                guide = network
            if ranks.rank == 0:
                weights = folder / f"{variant}.safetensors"
                save_weights(network, weights, **told, samples=_samples_in(folder / "log.csv", options["samples"]))
                _say(_speed(variant, list(last)), 0)
                print(weights, flush=True)


def _pairs(data: Path | None, mix: float, faces: str, skins: bool, preset: str, seed: int) -> tuple[Any, str]:
    """What a training learns from, as a stream, and its name."""
    from vrn_lite.datasets.photographs import prepared
    from vrn_lite.frame import require
    from vrn_lite.training.data import Mixed, stream_of, turns_of

    require(data is not None or mix == 0, "--mix is the share of drawn faces beside photographs: pass --data too")
    if data is not None:
        photographs = prepared(data, preset, seed=seed)
        name = f"{len(photographs)} photographs"
        if mix == 0:
            return photographs, name
    sources = [_source(name, skins) for name in (("ict", "procedural") if faces == "both" else (faces,))]
    drawn = " and ".join(source.name for source in sources)
    stream = stream_of(sources if len(sources) > 1 else sources[0], preset)
    return (stream, drawn) if data is None else (Mixed([photographs, stream], turns_of(mix)), f"{name} and {drawn}")


def _say(text: str, rank: int) -> None:
    """A remark on standard error, from one of several processes: standard output holds the files' names alone."""
    if rank == 0:
        print(text, file=sys.stderr, flush=True)


def _samples_in(log: Path, asked: int | None) -> int | None:
    """How many samples a training saw, by its log."""
    from vrn_lite.training.log import rows

    steps = rows(log) if log.is_file() else []
    return int(steps[-1]["samples"]) if steps else asked


def _speed(variant: str, steps: list[Any]) -> str:
    """How a training went, in a line: samples, speed, seconds a step (the mean of the last ones), and a GPU's memory."""
    import torch

    if not steps:
        return f"{variant}: nothing left to do"
    last, pairs, step = steps[-1], fmean(one.pair_seconds for one in steps), fmean(one.step_seconds for one in steps)
    line = f"{variant}: {last.samples:,} samples, {last.samples_per_second:.1f} a second; seconds a step: "
    line += f"pairs {pairs:.3f}, step {step:.3f}"
    if torch.cuda.is_available():
        line += f"; peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
        torch.cuda.reset_peak_memory_stats()
    return line


def _shown(steps: Any, samples: int | None) -> Any:
    """Pass steps on, with a progress bar: time left, faces a second, loss, IoU, NME."""
    from tqdm import tqdm

    with tqdm(total=samples, unit=" faces", smoothing=0.05) as bar:
        for metrics in steps:
            if not bar.n:
                bar.initial = metrics.samples  # a resumed run's speed is its own
            bar.update(metrics.samples - bar.n)
            bar.set_postfix(loss=f"{metrics.loss:.4f}", iou=f"{metrics.iou:.3f}", nme=f"{metrics.nme:.3f}")
            yield metrics


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Names, .safetensors files, or eos; none: all that ship."),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="heldout (default), florence, bu4dfe, aflw2000, expressions; may be repeated."),
    ] = None,
    faces: Faces = "auto",
    skins: Skins = False,
    count: Annotated[
        int | None, typer.Option("--n", min=1, help="How many faces; each protocol's own number by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the test faces.")] = 2017,
    detector: Annotated[
        str | None,
        typer.Option(help="Finds landmarks for guided networks and EOS: a name or a file; none: what ships."),
    ] = None,
    average: Annotated[
        bool, typer.Option(help="Average over mirrored and shifted copies, as reconstruct does.")
    ] = True,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The real set of one --protocol: florence, bu4dfe or aflw2000."),
    ] = None,
    basel: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Model_Shape.mat of the Basel model or its folder, for aflw2000."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Which of the Basel model's vertices are the face.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the numbers of every face here.")] = None,
) -> None:
    """Measure networks and baselines on faces that training never saw, beside the oracle and the mean face, and the paper's numbers.

    Those are rendered (--faces), or with --data those of a licensed set on disk (see the README).

    With --json the numbers are written as they come; the same command goes on where it was stopped. Files that cannot
    be read are told before, left out, and end in exit code 1.

    Guided networks are measured with the true landmarks, and with those of a detector where there is one. Baselines that
    need a face model (eos, and the regression networks) get ICT-FaceKit's, whatever faces they are tested on.
    """
    import pandas as pd
    from tqdm import tqdm

    from vrn_lite.evaluation.evaluate import Journal, Scores, evaluate as measure
    from vrn_lite.evaluation.predictors import default_predictors
    from vrn_lite.evaluation.testsets import named_set
    from vrn_lite.frame import require
    from vrn_lite.studies.published import summary
    from vrn_lite.studies.reproduce import with_eos

    require(
        data is not None or (basel is None and mask is None), "--basel and --mask tell about real data: pass --data too"
    )
    if data is None:
        face = _source(faces, skins)
        testsets = [named_set(name, face, count, seed) for name in protocol or ["heldout"]]
    else:
        testset = _real(protocol or ["heldout"], data, faces, seed, basel, mask)
        testsets = [testset if count is None else testset.first(count)]
    known = {path: why for testset in testsets for path, why in testset.left_out.items()}
    for why in known.values():
        _say(f"left out: {why}", 0)
    networks, model, eos = _competing(models)
    finder = _detector(detector)
    depends = [{name: _digest(network) for name, network in networks.items()}, _digest(finder), average, seed, skins]
    depends += [faces, *(str(path and path.resolve()) for path in (data, basel, mask))]
    journal = None if out is None else Journal(out, hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12])
    require(not eos or finder is not None, "EOS needs landmarks: pass --detector landmarks or a .safetensors file")
    frames = []
    for testset in testsets:
        if finder is not None and (eos or any(network.guided for network in networks.values())):
            testset = testset.seen_by(finder, average)
        predictors = default_predictors(networks, testset, test_time_augmentation=average)
        predictors = with_eos(predictors, model, finder.preset) if eos else predictors
        with tqdm(unit=" rows", smoothing=0.05, desc=testset.name, total=testset.size * len(predictors)) as bar:
            progress = partial(_advance, bar)
            frames.append(measure(predictors, testset, on_progress=progress, journal=journal).frame)
    scores = Scores(pd.concat(frames))
    print(summary(scores))
    if journal is not None:
        journal.write(scores.records())
    lost = {path: why for testset in testsets for path, why in testset.left_out.items()}
    for path in lost.keys() - known.keys():
        _say(f"left out: {lost[path]}", 0)
    if lost:
        _say(f"{len(lost)} files could not be read and were left out", 0)
        raise typer.Exit(1)


def _digest(network: Any) -> str:
    """A word for a network's weights; "" for none."""
    if network is None:
        return ""
    digest = hashlib.sha256()
    for name, values in network.state_dict().items():
        digest.update(name.encode() + values.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _advance(bar: Any, done: int, _total: int) -> None:
    """Move a progress bar on."""
    bar.update(done - bar.n)


def _real(protocols: list[str], folder: Path, faces: str, seed: int, basel: Path | None, mask: Path | None) -> Any:
    """The test set in a folder, for the one protocol that was asked for."""
    from vrn_lite import datasets
    from vrn_lite.faces import basel as read_model
    from vrn_lite.frame import InputError, require

    scans = {"florence": datasets.florence, "bu4dfe": datasets.bu4dfe}
    fits = len(protocols) == 1 and protocols[0] in (*scans, "aflw2000")
    require(
        fits,
        f"--data is the set of one protocol: pass --protocol florence, bu4dfe or aflw2000, got {', '.join(protocols)}",
    )
    if protocols[0] in scans:
        require(basel is None and mask is None, f"--basel and --mask belong to aflw2000, not to {protocols[0]}")
        return scans[protocols[0]](folder, _source(faces), seed)
    if basel is None:
        raise InputError(
            "AFLW2000-3D's faces are parameters of the Basel model: pass --basel with your copy of Model_Shape.mat (see the README)"
        )
    return datasets.aflw2000(folder, read_model(basel, mask))


def _competing(models: list[str] | None) -> tuple[dict[str, Any], Any, bool]:
    """Networks by name, the face model of those that need one, and whether EOS is asked for."""
    from vrn_lite.faces import ict
    from vrn_lite.networks.weights import load, shipped

    names = models or list(shipped())
    networks, eos = {name: load(name) for name in names if name != "eos"}, "eos" in names
    regress = [name for name, network in networks.items() if network.needs_face]
    model = ict() if models and (regress or eos) else _fetched()
    for name in regress:
        if model is None:
            del networks[name]  # nobody has asked for it by name
        else:
            networks[name].bind(model)
    return networks, model, eos


@app.command()
def reproduce(
    preset: Annotated[str, typer.Option(help="tiny, lite, colab, sharp, paper or paper_full.")] = "lite",
    samples: Annotated[int, typer.Option(min=1, help="Of each training of the ablations.")] = 7500,
    longer: Annotated[int, typer.Option(min=1, help="Samples of each training of the table from scratch.")] = 30_000,
    seeds: Annotated[int, typer.Option(min=1, help="How often the trainings of the ablations are repeated.")] = 3,
    count: Annotated[int, typer.Option("--n", min=1, help="How many held-out faces the ablations use.")] = 96,
    table: Annotated[
        int, typer.Option(min=0, help="How many faces of each protocol the tables use; 0: each protocol's own number.")
    ] = 120,
    faces: Faces = "auto",
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of trainings and results; what is there already is kept.")] = Path(
        "out/reproduce"
    ),
    publish: Annotated[
        bool, typer.Option("--publish", help="Replace the results that the notebooks and the README read.")
    ] = False,
) -> None:
    """Train and measure everything in the results section again; may be stopped and goes on where it was."""
    from tqdm import tqdm

    from vrn_lite.faces import procedural
    from vrn_lite.presets import preset as preset_named
    from vrn_lite.studies.reproduce import Lab, Study, publish as replace_published, reproduce as run

    source = _source(faces)
    other = procedural() if source.name != "procedural" else _fetched() or source
    study = Study(preset_named(preset).name, samples, longer, tuple(range(seeds)), count, table)
    _make(out)
    with tqdm(total=1.0, bar_format="{desc} {percentage:3.0f}% [{elapsed}]") as bar:

        def progress(what: str, share: float) -> None:
            bar.set_description(what)
            bar.update(share - bar.n)

        lab = Lab(out, study, source, other, progress)
        path = run(lab, part)
    if publish:
        path = replace_published(path)
    print(path)


@app.command()
def models() -> None:
    """List the weights that ship, and what they say of themselves."""
    from vrn_lite.networks.weights import shipped, weights_metadata

    for name, path in shipped().items():
        facts = weights_metadata(path)
        print(
            f"{name}: {facts.pop('variant')}, preset {facts.pop('preset')['name']}, {path.stat().st_size / 2**20:.1f} MiB"
        )
        for key in sorted(facts):
            _tell(key, facts[key])


@app.command()
def preview(
    faces: Faces = "procedural",
    skins: Skins = False,
    count: Annotated[int, typer.Option("--n", min=1, max=400, help="How many faces.")] = 64,
    landmarks: Annotated[bool, typer.Option("--landmarks", help="Draw the 68 landmarks too.")] = False,
    out: Annotated[Path, typer.Option(help="PNG file.")] = Path("out/preview.png"),
    seed: Annotated[int, typer.Option(help="Of the faces.")] = 0,
) -> None:
    """Draw random faces as training sees them: every pose, expression, light and camera."""
    import torch

    from vrn_lite.files import atomically
    from vrn_lite.samples import LOOSE_JITTER, make_pairs
    from vrn_lite.viz import contact_sheet

    source, generator = _source(faces, skins), torch.Generator().manual_seed(seed)
    batches = [
        make_pairs(source, "paper", min(16, count - first), generator, poses=LOOSE_JITTER)
        for first in range(0, count, 16)
    ]
    points = torch.cat([pairs.landmarks for pairs in batches]) if landmarks else None
    sheet = contact_sheet(torch.cat([pairs.images for pairs in batches]), points)
    atomically(out, lambda part: sheet.save(part, format="png"))
    print(out)


@app.command()
def fetch(
    what: Annotated[
        str,
        typer.Argument(
            help="ict: the ICT-FaceKit model (MIT licence, 390 MB); skins: MakeHuman's skins and hair (CC0, 60 MB); "
            "finder: YuNet, which finds faces (MIT licence, 0.2 MB; needs OpenCV)."
        ),
    ] = "ict",
) -> None:
    """Download a face model, photographed skins, eyes and hair, or a finder of faces; check it, and convert it once."""
    from vrn_lite.faces.ict import fetch_ict
    from vrn_lite.frame import require
    from vrn_lite.photo.yunet import fetch_yunet
    from vrn_lite.synth.assets import fetch_skins

    fetchers: dict[str, Any] = {"ict": fetch_ict, "skins": fetch_skins, "finder": fetch_yunet}
    require(what in fetchers, f"unknown source {what!r}: choose ict, skins or finder")
    print(fetchers[what]())


@app.command()
def bench(
    repeats: Annotated[int, typer.Option(min=1, help="Alternating runs; the median counts.")] = 9,
    preset: Annotated[str, typer.Option(help="What is trained: lite, colab...")] = "lite",
    steps: Annotated[int, typer.Option(min=1, help="Steps of one run of training.")] = 8,
) -> None:
    """Time voxelize beside other libraries, make_pairs at three sizes, and training beside the plain way."""
    from vrn_lite.faces import procedural
    from vrn_lite.studies.bench import run

    faces = tuple(face for face in (_fetched(), procedural()) if face is not None)
    print("| task | by | median | unit | runs | volume error | note |\n|---|---|---|---|---|---|---|")
    for line in run(faces, repeats, preset=preset, steps=steps):
        value = "" if line.value is None else f"{line.value:.4g}"
        error = "" if line.volume_error is None else f"{line.volume_error:.3%}"
        print(f"| {line.task} | {line.by} | {value} | {line.unit} | {line.runs} | {error} | {line.note} |", flush=True)


def _tell(name: str, value: Any) -> None:
    """One line of what weights say of themselves; one for each group of numbers in it, but those by yaw."""
    groups = {key: part for key, part in value.items() if isinstance(part, dict)} if isinstance(value, dict) else {}
    plain = {key: part for key, part in value.items() if key not in groups} if isinstance(value, dict) else value
    if plain or not groups:
        print(
            f"  {name}: "
            + (", ".join(f"{key} {part}" for key, part in plain.items()) if isinstance(plain, dict) else str(plain))
        )
    for key in (key for key in groups if key != "by_yaw"):
        _tell(f"{name}, {key}", groups[key])


def _detector(name: str | None) -> Any:
    """The landmark network of that name; without one, what ships."""
    from vrn_lite.networks.weights import load_detector, shipped

    if name is None and "landmarks" not in shipped():
        return None
    return load_detector("landmarks" if name is None else name)


def _make(folder: Path) -> None:
    """Make a folder that can be written."""
    from vrn_lite.frame import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}; choose another folder") from error


def _fetched() -> Any:
    """The ICT model where it has been fetched, else None."""
    from vrn_lite.faces import default

    face = default()
    return face if face.name == "ict" else None


def _source(name: str, skins: bool = False) -> Any:
    """The face model of that name, in photographed skins where asked for."""
    from vrn_lite.faces import default, ict, procedural
    from vrn_lite.frame import InputError

    sources = {"auto": default, "procedural": procedural, "ict": ict}
    if name not in sources:
        raise InputError(f"unknown faces {name!r}: choose procedural, ict or auto")
    source = sources[name]()
    if not skins:
        return source
    from vrn_lite.synth.photographed import with_photographs

    return with_photographs(source)


if __name__ == "__main__":
    main()
