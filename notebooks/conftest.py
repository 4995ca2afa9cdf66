"""The notebooks' tests use the profile `ci`, also where they are run alone."""

import os

os.environ.setdefault("VRN_LITE_PROFILE", "ci")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
