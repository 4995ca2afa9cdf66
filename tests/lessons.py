"""All notebooks: the students', which are kept, and the teachers', which are made from their sources."""

import json
import sys
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "notebooks"
sys.path.insert(0, str(FOLDER))
import editions  # noqa: E402

STUDENTS = sorted(FOLDER.glob("*.ipynb"))
SOURCES = editions.sources()


@cache
def lesson(path: Path) -> editions.Notebook:
    """Student's notebook, or the teacher's edition of a source."""
    return editions.teacher(editions.read(path), path.stem) if path.suffix == ".py" else json.loads(path.read_text(encoding="utf-8"))


def title(path: Path) -> str:
    """Name of a notebook among the tests."""
    return f"{'teacher' if path.suffix == '.py' else 'student'}/{path.stem}"
