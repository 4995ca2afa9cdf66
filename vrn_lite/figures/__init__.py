"""Plotly figures of meshes, volumes, images and curves that look the same in JupyterLab, on Colab, on GitHub and in a file.

A figure holds its own controls (sliders, no kernel needed) and few bytes: coordinates are fixed-point int16, triangles
uint16 where they fit, slices are PNG images. `show` adds a still picture and a sentence for places without JavaScript::

    look --+--> meshes --+--> gallery --+
           +--> planes --+              +--> still --> shown
           +--> curves -----------------+
"""

from vrn_lite.figures.curves import Box, Curve, bars_figure, boxes_figure, compared_figure, curves_figure, panels_figure, thinned
from vrn_lite.figures.gallery import (
    abreast,
    drawn_face,
    face_figure,
    guided_figure,
    level_figure,
    levels_figure,
    linked_figure,
    movie_figure,
    surface_of,
    turned_camera,
)
from vrn_lite.figures.look import COLOURS, INKS, MAP, SIGNS, SKIN, Array, numbers, profile
from vrn_lite.figures.meshes import MOST_VERTICES, coarser, mesh_figure, meshes_figure
from vrn_lite.figures.planes import film_figure, images_figure, pages_figure, relief, sheet_figure, slices_figure
from vrn_lite.figures.shown import Shown, show, spec, write_html
from vrn_lite.figures.still import picture

__all__ = [
    "COLOURS",
    "INKS",
    "MAP",
    "MOST_VERTICES",
    "SIGNS",
    "SKIN",
    "Array",
    "Box",
    "Curve",
    "Shown",
    "abreast",
    "bars_figure",
    "boxes_figure",
    "coarser",
    "compared_figure",
    "curves_figure",
    "drawn_face",
    "face_figure",
    "guided_figure",
    "film_figure",
    "images_figure",
    "level_figure",
    "levels_figure",
    "linked_figure",
    "mesh_figure",
    "meshes_figure",
    "movie_figure",
    "numbers",
    "pages_figure",
    "panels_figure",
    "picture",
    "profile",
    "relief",
    "sheet_figure",
    "show",
    "slices_figure",
    "spec",
    "surface_of",
    "thinned",
    "turned_camera",
    "write_html",
]
