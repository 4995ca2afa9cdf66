"""One photograph in, one 3D face out."""
