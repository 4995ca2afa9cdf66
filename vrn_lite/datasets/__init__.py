"""Real data, for those who hold it: 300W-LP and AFLW2000-3D (`w300lp`, for training `photographs`), MICC Florence and
BU-4DFE (`scans`).

Nothing of these sets is here, and none may be passed on; the code reads the owner's copy. A test set made here goes
where a rendered one goes::

    vrn.evaluate(vrn.load("vrn"), vrn.datasets.aflw2000("AFLW2000", vrn.faces.basel("basel")))
"""

from vrn_lite.datasets.photographs import Photographs, prepare, prepared
from vrn_lite.datasets.scans import bu4dfe, florence
from vrn_lite.datasets.w300lp import aflw2000, pairs_from

__all__ = ["Photographs", "aflw2000", "bu4dfe", "florence", "pairs_from", "prepare", "prepared"]
