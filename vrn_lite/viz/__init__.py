"""Figures of meshes, volumes, images and curves, the same in JupyterLab, on Colab, on GitHub and in a file.

A figure holds its own controls (sliders, no kernel needed) and few bytes: coordinates are fixed-point int16, triangles
uint16 where they fit, slices are PNG images. It is the one description of what is to be seen: browsers draw it with
Plotly's script, and `picture` draws the same traces and layout without a browser. `show` puts both and a sentence into
a notebook. Widgets, which need a kernel, stand in `viz.widgets`::

    style --+--> meshes --+--> scenes --+
            +--> images --+             +--> still --> display --> widgets
            +--> curves ----------------+
"""

from vrn_lite.viz.curves import bars_figure, boxes_figure, compared_figure, curves_figure, downsample, panels_figure
from vrn_lite.viz.display import Display, show, spec, write_html
from vrn_lite.viz.images import contact_sheet, film_figure, image_grid, images_figure, pages_figure, slices_figure
from vrn_lite.viz.meshes import MOST_VERTICES, cluster_vertices, linked_figure, mesh_figure, meshes_figure
from vrn_lite.viz.scenes import drawn_face, face_figure, guided_figure, levels_figure, movie_figure, surface_of
from vrn_lite.viz.shading import shade_mesh, shade_volume
from vrn_lite.viz.still import picture
from vrn_lite.viz.style import COLOURS, INKS, MAP, SIGNS, SKIN, numbers, profile
