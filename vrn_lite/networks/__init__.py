"""The hourglass and the networks built from it (paper section 3.3)."""
