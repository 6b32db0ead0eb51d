"""The three tile transforms of Winograd's F(4, 3) in three dimensions, compiled by numba.

An image is (n, x, y, z, channels), float32 and contiguous; its n axes are cut into cubes of 4 voxels, in raster order
over (n, x, y, z), the last ones hanging over the border. A transformed image is (216, tiles, channels): the 6x6x6
points of each tile. Every function handles the tiles `first` to `last` - 1 and stores tile t at t - `offset`, so that
threads can share the work.
"""

import numpy as np

from lesionwise.numba_cache import compiled

TILE = 4
POINTS = 6

_compiled = compiled(fastmath=True)
_inlined = compiled(fastmath=True, inline="never")


@_inlined
def _data(a, b, c, d, e, f, o0, o1, o2, o3, o4, o5):  # type: ignore[no-untyped-def]
    """Six neighbouring data values -> six points (the matrix B^T of Lavin and Gray, points 0, 1, -1, 2, -2, infinity)."""
    two, four, five = np.float32(2), np.float32(4), np.float32(5)
    for k in range(a.size):
        va, vb, vc, vd, ve, vf = a[k], b[k], c[k], d[k], e[k], f[k]
        p, q = ve - four * vc, vd - four * vb
        r, s = ve - vc, two * (vd - vb)
        o0[k] = four * va - five * vc + ve
        o1[k] = p + q
        o2[k] = p - q
        o3[k] = r + s
        o4[k] = r - s
        o5[k] = four * vb - five * vd + vf


@_inlined
def _result(a, b, c, d, e, f, o0, o1, o2, o3):  # type: ignore[no-untyped-def]
    """Six points -> four results (A^T)."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    for k in range(a.size):
        p, q, r, s = b[k] + c[k], b[k] - c[k], d[k] + e[k], d[k] - e[k]
        o0[k] = a[k] + p + r
        o1[k] = q + two * s
        o2[k] = p + four * r
        o3[k] = q + eight * s + f[k]


@_inlined
def _gradient(a, b, c, d, o0, o1, o2, o3, o4, o5):  # type: ignore[no-untyped-def]
    """Four gradients of results -> six gradients of points (A, the transpose of the above)."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    for k in range(a.size):
        va, vb, vc, vd = a[k], b[k], c[k], d[k]
        p, q, r, s = va + vc, vb + vd, va + four * vc, two * vb + eight * vd
        o0[k] = va
        o1[k] = p + q
        o2[k] = p - q
        o3[k] = r + s
        o4[k] = r - s
        o5[k] = vd


@_compiled
def data_to_points(image, points, first, last, offset):  # type: ignore[no-untyped-def]
    """Transform the 6x6x6 neighbourhoods of tiles, zero outside the image: image -> points."""
    _, nx, ny, nz, channels = image.shape
    tx, ty, tz = (nx + 3) // TILE, (ny + 3) // TILE, (nz + 3) // TILE
    part = np.empty((POINTS, POINTS, POINTS, channels), np.float32)
    zero = np.zeros(channels, np.float32)
    for tile in range(first, last):
        k, rest = tile % tz, tile // tz
        j, rest = rest % ty, rest // ty
        i, n = rest % tx, rest // tx
        z = TILE * k - 1
        for a in range(POINTS):
            x = TILE * i + a - 1
            if x < 0 or x >= nx:
                part[a] = np.float32(0)
                continue
            for b in range(POINTS):
                y = TILE * j + b - 1
                if y < 0 or y >= ny:
                    part[a, b] = np.float32(0)
                    continue
                row, out = image[n, x, y], part[a, b]
                _data(
                    row[z] if z >= 0 else zero,
                    row[z + 1],
                    row[z + 2] if z + 2 < nz else zero,
                    row[z + 3] if z + 3 < nz else zero,
                    row[z + 4] if z + 4 < nz else zero,
                    row[z + 5] if z + 5 < nz else zero,
                    out[0], out[1], out[2], out[3], out[4], out[5],
                )  # fmt: skip
            flat = part[a].reshape((POINTS, POINTS * channels))
            _data(
                flat[0], flat[1], flat[2], flat[3], flat[4], flat[5],
                flat[0], flat[1], flat[2], flat[3], flat[4], flat[5],
            )  # fmt: skip
        t = tile - offset
        for b in range(POINTS):
            for c in range(POINTS):
                p = POINTS * b + c
                _data(
                    part[0, b, c], part[1, b, c], part[2, b, c], part[3, b, c], part[4, b, c], part[5, b, c],
                    points[p, t], points[36 + p, t], points[72 + p, t],
                    points[108 + p, t], points[144 + p, t], points[180 + p, t],
                )  # fmt: skip


@_compiled
def points_to_result(points, image, first, last, offset):  # type: ignore[no-untyped-def]
    """Transform tiles back: points -> image, written at the tiles' own voxels."""
    _, nx, ny, nz, channels = image.shape
    tx, ty, tz = (nx + 3) // TILE, (ny + 3) // TILE, (nz + 3) // TILE
    planes = np.empty((TILE, POINTS, POINTS, channels), np.float32)
    lines = np.empty((TILE, POINTS, channels), np.float32)
    spill = np.empty((TILE, channels), np.float32)
    for tile in range(first, last):
        k, rest = tile % tz, tile // tz
        j, rest = rest % ty, rest // ty
        i, n = rest % tx, rest // tx
        t = tile - offset
        for b in range(POINTS):
            for c in range(POINTS):
                p = POINTS * b + c
                _result(
                    points[p, t], points[36 + p, t], points[72 + p, t],
                    points[108 + p, t], points[144 + p, t], points[180 + p, t],
                    planes[0, b, c], planes[1, b, c], planes[2, b, c], planes[3, b, c],
                )  # fmt: skip
        for a in range(min(TILE, nx - TILE * i)):
            flat = planes[a].reshape((POINTS, POINTS * channels))
            to = lines.reshape((TILE, POINTS * channels))
            _result(flat[0], flat[1], flat[2], flat[3], flat[4], flat[5], to[0], to[1], to[2], to[3])
            for b in range(min(TILE, ny - TILE * j)):
                row, line, z = image[n, TILE * i + a, TILE * j + b], lines[b], TILE * k
                _result(
                    line[0], line[1], line[2], line[3], line[4], line[5],
                    row[z],
                    row[z + 1] if z + 1 < nz else spill[1],
                    row[z + 2] if z + 2 < nz else spill[2],
                    row[z + 3] if z + 3 < nz else spill[3],
                )  # fmt: skip


@_compiled
def gradient_to_points(image, points, first, last, offset):  # type: ignore[no-untyped-def]
    """Transform the gradient of a result: image -> gradient of its points; the transpose of `points_to_result`."""
    _, nx, ny, nz, channels = image.shape
    tx, ty, tz = (nx + 3) // TILE, (ny + 3) // TILE, (nz + 3) // TILE
    planes = np.empty((TILE, POINTS, POINTS, channels), np.float32)
    lines = np.empty((TILE, POINTS, channels), np.float32)
    zero = np.zeros(channels, np.float32)
    for tile in range(first, last):
        k, rest = tile % tz, tile // tz
        j, rest = rest % ty, rest // ty
        i, n = rest % tx, rest // tx
        for a in range(TILE):
            x = TILE * i + a
            for b in range(TILE):
                y, z = TILE * j + b, TILE * k
                if x >= nx or y >= ny:
                    lines[b] = np.float32(0)
                    continue
                row, line = image[n, x, y], lines[b]
                _gradient(
                    row[z],
                    row[z + 1] if z + 1 < nz else zero,
                    row[z + 2] if z + 2 < nz else zero,
                    row[z + 3] if z + 3 < nz else zero,
                    line[0], line[1], line[2], line[3], line[4], line[5],
                )  # fmt: skip
            flat = lines.reshape((TILE, POINTS * channels))
            to = planes[a].reshape((POINTS, POINTS * channels))
            _gradient(flat[0], flat[1], flat[2], flat[3], to[0], to[1], to[2], to[3], to[4], to[5])
        t = tile - offset
        for b in range(POINTS):
            for c in range(POINTS):
                p = POINTS * b + c
                _gradient(
                    planes[0, b, c], planes[1, b, c], planes[2, b, c], planes[3, b, c],
                    points[p, t], points[36 + p, t], points[72 + p, t],
                    points[108 + p, t], points[144 + p, t], points[180 + p, t],
                )  # fmt: skip
