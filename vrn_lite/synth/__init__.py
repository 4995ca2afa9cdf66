"""Rendered photographs of faces: the photographed skins, eyes and haircuts that they wear."""
