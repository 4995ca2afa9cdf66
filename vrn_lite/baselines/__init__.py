"""Methods that the paper compares with: EOS, and networks that regress numbers instead of a volume (section 4)."""
