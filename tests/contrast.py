"""Contrast of two colours, and how colour-blind readers see them."""

import numpy as np

DICHROMACY = {  # Machado, Oliveira and Fernandes, 2009, table 1, severity 1.0: on linear RGB
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def linear(rgb):
    """sRGB bytes as linear light in [0, 1] (the formula of WCAG 2.x, with IEC's threshold)."""
    share = np.asarray(rgb, dtype=float) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def luminance(rgb):
    """WCAG's relative luminance of sRGB bytes."""
    return float(linear(rgb) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """WCAG's contrast ratio, from 1 (the same) to 21 (black on white)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def seen(rgb, sight):
    """Linear light that a reader with this sight tells from others only as this colour."""
    return np.clip(np.array(DICHROMACY[sight]) @ linear(rgb), 0, 1)


def lab(light):
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    share = to_xyz @ np.asarray(light) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(one, other, sight=None):
    """Distance in L*a*b* (CIE 1976) of two sRGB colours, as a reader with this sight sees them."""
    lights = [linear(colour) if sight is None else seen(colour, sight) for colour in (one, other)]
    return float(np.linalg.norm(lab(lights[0]) - lab(lights[1])))
