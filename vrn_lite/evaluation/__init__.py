"""Test sets, predictors, and the measurement of the one on the other (paper section 4)."""
