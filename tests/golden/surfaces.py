# SPDX-License-Identifier: Apache-2.0
"""Patches as walls, skies and scanned pages have them: their spread is small beside their mean, and LayerNorm 1 enlarges
what little there is up to 316 times. For the scripts make_ops.py and make_model.py."""
import numpy as np


def surfaces(side):
    """[15][side * side * 3] whole numbers 0 .. 255: flat ones, nearly flat ones, gradients and sky, paper and dots."""
    y, x, c = np.indices((side, side, 3))
    grain = np.random.default_rng(5).integers(0, 256, x.shape)
    strokes = ((x // 3 + y // 7) % 5 == 0) & (y % 12 < 8)
    drawn = [np.full_like(x, value) for value in (254, 255, 127, 1, 0)]
    drawn += [254 - ((x == 5) & (y == 7)), 254 - (grain < 3), 254 + (x + y + c) % 2, 127 + (grain > 128), grain % 3]
    drawn += [200 + x * 15 // side, np.array([90, 140, 200]) + y * 6 // side, (x + y) * 255 // (2 * side - 2)]
    drawn += [np.where(strokes, 25, 248) + grain % 5, 255 - 255 * ((x == 20) & (y == 20))]
    return np.stack(drawn).reshape(-1, side * side * 3)
