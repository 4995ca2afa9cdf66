"""The contract of a network, the hourglass, and the networks built from it (paper section 3.3)."""

from vrn_lite.networks import regression, vrn  # noqa: F401, their variants enter the registry
