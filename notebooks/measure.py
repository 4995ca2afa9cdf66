"""Minutes and peak memory of the notebooks: each runs in a fresh kernel with one thread; measured.json gets its line.

    python notebooks/measure.py            # all notebooks, profile cpu
    python notebooks/measure.py 05 08      # these; the other lines stay
    python notebooks/measure.py 05 --cells --dry    # where the memory goes, cell by cell; nothing is written

The file is written after every notebook, so that an interrupted run goes on with the numbers of those that are missing.
Linux only: the kernel's own books in /proc are read.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TARGET = FOLDER / "measured.json"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")

MINUTES = "CPU minutes of the kernel with one thread: how long the notebook takes on one core that does nothing else"
WALL = "minutes by the clock, on a machine that may have had other work"
PEAK = "largest resident memory of the kernel, MiB"


@dataclass(frozen=True)
class Usage:
    """What a process has used so far: largest resident memory and that of now (MiB), CPU seconds of all its threads."""

    peak_mib: float
    resident_mib: float
    cpu_seconds: float


def usage(process: int) -> Usage:
    """What the system has noted down of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system = int(after_name[11]), int(after_name[12])
    peak, resident = (int(status[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS"))
    return Usage(peak, resident, (user + system) / os.sysconf("SC_CLK_TCK"))


def code_of(path: Path) -> list[tuple[str, str]]:
    """(id, code) of the code cells of a notebook."""
    return [
        (cell["id"], "".join(cell["source"]))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]


def run(
    cells: Iterable[tuple[str, str]],
    folder: Path,
    profile: str,
    told: Callable[[str, Usage], object] = lambda name, used: None,
) -> Usage:
    """What a fresh kernel with one thread uses to run cells in a folder; `told` hears of it after every cell.

    Raises
    ------
    RuntimeError : a cell raised an exception.
    """
    from jupyter_client.manager import start_new_kernel

    environment = os.environ | ONE_THREAD | {"VRN_LITE_PROFILE": profile, "TQDM_DISABLE": "1"}
    manager, client = start_new_kernel(startup_timeout=120, env=environment, cwd=str(folder))
    try:
        process = manager.provisioner.pid
        used = usage(process)
        for name, code in cells:
            reply = client.execute_interactive(
                code, allow_stdin=False, store_history=False, output_hook=lambda message: None
            )["content"]
            if reply["status"] != "ok":
                raise RuntimeError(f"cell {name!r} failed: {reply.get('ename')}: {reply.get('evalue')}")
            used = usage(process)
            told(name, used)
        return used
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def faces() -> str:
    """Source of the notebooks' faces on this machine: "ict" where the model has been fetched, else "procedural"."""
    from vrn_lite.faces import default

    return default().name


def measured(
    path: Path, profile: str, told: Callable[[str, Usage], object] = lambda name, used: None
) -> dict[str, Any]:
    """The line of measured.json of one notebook."""
    began = time.perf_counter()
    used = run(code_of(path), path.parent, profile, told)
    minutes = {"minutes": round(used.cpu_seconds / 60, 1), "wall_minutes": round((time.perf_counter() - began) / 60, 1)}
    return minutes | {"peak_mib": round(used.peak_mib), "faces": faces(), "date": date.today().isoformat()}


def circumstances(profile: str) -> dict[str, Any]:
    """What holds for all lines of measured.json."""
    import torch

    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    hardware = (
        f"one thread on a machine with {os.cpu_count()} CPU cores ({' '.join(model[:1]) or 'unknown'}), no GPU used"
    )
    meaning = {
        "minutes": MINUTES,
        "wall_minutes": WALL,
        "peak_mib": PEAK,
        "faces": "the source that the notebook drew its faces from",
    }
    return {"profile": profile, "hardware": hardware, "threads": 1, "torch": torch.__version__, "meaning": meaning}


def noted(target: Path, profile: str, name: str, line: dict[str, Any]) -> None:
    """Put one line into the file; everything else stays, at once or not at all."""
    before = json.loads(target.read_text(encoding="utf-8"))
    notebooks = dict(sorted((before["notebooks"] | {name: line}).items()))
    after = (
        circumstances(profile)
        | {"notebooks": notebooks}
        | {key: value for key, value in before.items() if key == "from_scratch"}
    )
    temporary = target.with_suffix(".partial")
    temporary.write_text(json.dumps(after, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(target)


def chosen(names: list[str]) -> list[Path]:
    """The notebooks whose names begin with one of these; all for none."""
    paths = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    unknown = [name for name in names if not any(path.stem.startswith(name) for path in paths)]
    if unknown:
        raise SystemExit(f"no notebook begins with {', '.join(unknown)}")
    return [path for path in paths if not names or any(path.stem.startswith(name) for name in names)]


def said(name: str, used: Usage) -> None:
    """Print what has been used up to the end of a cell."""
    print(
        f"  {name:24} peak {used.peak_mib:6.0f} MiB, after it {used.resident_mib:6.0f} MiB {used.cpu_seconds:7.1f} s",
        flush=True,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", help="beginnings of names, as 05; all by default")
    parser.add_argument("--profile", default="cpu", choices=("ci", "cpu"))
    parser.add_argument("--cells", action="store_true", help="print what has been used after every cell")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    asked = parser.parse_args()
    if asked.profile != "cpu" and not asked.dry:
        parser.error("measured.json holds profile cpu: add --dry")
    for path in chosen(asked.notebooks):
        if asked.cells:
            print(path.stem)
        line = measured(path, asked.profile, said if asked.cells else lambda name, used: None)
        minutes = f"{line['minutes']:5.1f} CPU minutes ({line['wall_minutes']:.1f} by the clock)"
        print(f"{path.stem:40} {minutes}, {line['peak_mib']:,} MiB, {line['faces']} faces", flush=True)
        if not asked.dry:
            noted(TARGET, asked.profile, path.stem, line)


if __name__ == "__main__":
    main()
