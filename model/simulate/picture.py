"""From anatomy to a B-mode picture: scatterers, point-spread function, envelope, attenuation, log compression.

Each tissue is a field of random complex scatterers whose mean strength is its echo level. The field goes through a
Gaussian point-spread function (the baseband form of a modulated pulse), so its envelope is fully developed speckle with
Rayleigh statistics. Interfaces that meet the beam at right angles reflect as bright lines; attenuation, shadow and
enhancement come from adding up loss along depth. References: Wagner et al. 1983 (speckle), Jensen 1996 (Field II).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from model.simulate.anatomy import NODULE_ANGLES, TRACHEA_RADIUS_MM, Anatomy
from model.simulate.centres import Machine

Grid = npt.NDArray[np.float32]

# Echo levels in dB relative to the gland.
_MUSCLE, _FAT, _VESSEL, _AIR, _CONNECTIVE = -14.0, -4.0, -34.0, -22.0, -7.0
_LOOKS = 2
_NODULE_DB = {"marked hypoechoic": -12.5, "hypoechoic": -7.5, "isoechoic": -2.5, "hyperechoic": 5.5}


@dataclass(frozen=True)
class Picture:
    """A rendered view: 8-bit pixels and the true masks, all (rows, columns)."""

    pixels: npt.NDArray[np.uint8]
    gland: npt.NDArray[np.bool_]
    nodule: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Findings:
    """What the picture must show of a case."""

    echogenicity: str
    margin: str
    calcification: str
    composition: str
    left: bool
    isthmus: bool
    thyroiditis: bool


def _texture(rng: np.random.Generator, rows: int, columns: int, fine_rows: int, fine_columns: int) -> Grid:
    """Smooth random field with unit variance, about fine_rows × fine_columns bumps."""
    coarse = rng.standard_normal((fine_rows, fine_columns)).astype(np.float32)
    picture = Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)


def _line(y: Grid, curve: Grid, thickness: float) -> Grid:
    """Bright line along curve(x): Gaussian profile in depth."""
    return np.asarray(np.exp(-(((y - curve) / thickness) ** 2)), dtype=np.float32)


def _facing(curve: Grid, step: float) -> Grid:
    """How squarely an interface y = curve(x) meets a vertical beam: cosine of its slope, to the third power."""
    return np.asarray((1 + np.gradient(curve, step) ** 2) ** -1.5, dtype=np.float32)


def render(anatomy: Anatomy, i: int, findings: Findings, machine: Machine, rng: np.random.Generator) -> Picture:
    """Picture and true masks of case `i` of `anatomy` on `machine`."""
    rows, columns = machine.rows, machine.columns
    step = machine.depth_mm / rows
    xs = ((np.arange(columns) + 0.5 - columns / 2) * step).astype(np.float32)
    ys = ((np.arange(rows) + 0.5) * step).astype(np.float32)
    y = ys[:, None]
    transverse = anatomy.view == "transverse"

    gx = anatomy.x[i]
    inside = (xs >= gx[0]) & (xs <= gx[-1])
    top = np.interp(xs, gx, anatomy.top[i]).astype(np.float32)
    bottom = np.interp(xs, gx, anatomy.bottom[i]).astype(np.float32)
    gland = (y >= top) & (y <= bottom) & inside
    cx, cy = anatomy.centre[i]
    lx, ly, hx, hy = anatomy.lobe[i]
    dx, dy = xs - np.float32(cx), y - np.float32(cy)
    radius = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) % (2 * np.pi)
    outline = np.append(anatomy.radii[i], anatomy.radii[i, 0])
    edge_radius = np.interp(angle, np.linspace(0, 2 * np.pi, NODULE_ANGLES + 1), outline).astype(np.float32)
    nodule = radius <= edge_radius

    # Fascia, muscle and fat above the gland follow its surface, softened.
    surface = np.interp(xs, gx, anatomy.top[i], left=float(ly), right=float(anatomy.top[i, -1]))
    smooth_top = gaussian_filter1d(surface.astype(np.float32), 14)
    skin = np.float32(max(float(anatomy.top[i].min()) - rng.uniform(4.0, 5.6), 1.8))
    wander = _texture(rng, 1, columns, 1, 6)[0]
    fascia = np.minimum(skin + 0.35 * wander, smooth_top - 0.8)

    echo = np.full((rows, columns), _CONNECTIVE, np.float32)
    echo += 3.0 * _texture(rng, rows, columns, rows // 10, columns // 40)
    streaks = _texture(rng, rows, columns, rows // 3, columns // 45)
    loss = np.full((rows, columns), 0.55, np.float32)  # dB per mm beyond what time gain compensates, before scaling
    above = y < smooth_top
    echo = np.where(above, _MUSCLE + 3.5 * streaks, echo)
    echo = np.where(y < fascia, _FAT + 5.0 * streaks, echo)
    echo = np.where(y < 1.1 + 0.15 * wander, 6.0 + 2 * streaks, echo)
    shine = np.zeros((rows, columns), np.float32)
    shine += 1.6 * _line(y, fascia, 0.30) * (0.7 + 0.3 * wander)
    shine += 1.0 * _line(y, (fascia + smooth_top) / 2 + 0.4 * wander, 0.22) * np.clip(wander, 0, 1)

    if transverse:
        _vessels(echo, loss, shine, xs, y, float(lx), float(ly), float(hx), float(hy), rng)
    _deep_tissue(echo, loss, shine, xs, y, anatomy, i, rng)
    tx, ty = anatomy.trachea[i]
    if np.isfinite(tx):
        _airway(echo, loss, shine, xs, y, float(tx), float(ty), transverse, gland, rng)

    gland_level = rng.uniform(-1.5, 1.5) - (3.0 if findings.thyroiditis else 0.0)
    coarse = 2.6 if findings.thyroiditis else 0.9
    fine = max(rows // 9, 4), max(columns // 11, 4)
    echo = np.where(gland, gland_level + coarse * _texture(rng, rows, columns, *fine), echo)
    loss = np.where(gland, 0.5, loss)
    for curve, weight in ((top, 1.4), (bottom, 1.15)):
        strength = np.where(inside, _facing(curve, step), 0)
        shine += weight * _line(y, curve, 0.22) * strength * np.clip(0.8 + 0.5 * wander, 0.15, 1.6)
    # The lateral tip of the lobe reflects little, but its capsule is seen.
    rim = (y > top - 0.25) & (y < bottom + 0.25) & inside & ~((y > top + 0.1) & (y < bottom - 0.1))
    shine += 0.45 * rim

    _nodule(echo, loss, shine, findings, nodule, radius, edge_radius, angle, (cx, cy), xs, y, gland_level, rng)

    pixels = _scan(echo, loss, shine, machine, step, rng)
    if transverse and findings.left:
        pixels, gland, nodule = pixels[:, ::-1], gland[:, ::-1], nodule[:, ::-1]
    return Picture(np.ascontiguousarray(pixels), np.ascontiguousarray(gland), np.ascontiguousarray(nodule))


def _vessels(
    echo: Grid, loss: Grid, shine: Grid, xs: Grid, y: Grid, lx: float, ly: float, hx: float, hy: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Carotid artery and jugular vein beside the lobe (in place)."""
    r = rng.uniform(2.6, 3.6)
    vx, vy = lx - hx - r - rng.uniform(0.2, 0.9), ly + rng.uniform(-0.1, 0.45) * hy
    flat = rng.uniform(1.1, 1.9)
    jugular = (vx - rng.uniform(2.0, 5.0), vy - r - rng.uniform(1.4, 2.2), r * flat, r * rng.uniform(0.35, 0.8))
    for px, py, ax, ay in ((vx, vy, r, r), jugular):
        rho = np.sqrt(((xs - px) / ax) ** 2 + ((y - py) / ay) ** 2)
        wall = np.exp(-(((rho - 1) * min(ax, ay) / 0.28) ** 2)).astype(np.float32)
        facing = np.abs(y - py) / np.maximum(np.hypot(xs - px, y - py), 0.3)
        shine += 1.1 * wall * (0.15 + 0.85 * facing)
        lumen = rho < 1
        echo[lumen] = _VESSEL
        loss[lumen] = -0.35  # blood attenuates less than what the machine compensates: enhancement behind it


def _deep_tissue(
    echo: Grid, loss: Grid, shine: Grid, xs: Grid, y: Grid, anatomy: Anatomy, i: int, rng: np.random.Generator
) -> None:
    """Prevertebral muscle with its fascia, and the vertebra's shadow, behind the gland (in place)."""
    lx, ly, _, hy = anatomy.lobe[i]
    columns = len(xs)
    fascia = (ly + hy + rng.uniform(1.0, 2.5) + 0.7 * _texture(rng, 1, columns, 1, 5)[0]).astype(np.float32)
    fascia += (0.012 * rng.uniform(0.3, 1.2) * (xs - np.float32(lx)) ** 2).astype(np.float32)
    thick = np.float32(rng.uniform(4.5, 8.0))
    deep = y > fascia
    streaks = _texture(rng, len(echo), columns, len(echo) // 4, columns // 50)
    echo[...] = np.where(deep, _MUSCLE + 1.5 + 3.0 * streaks, echo)
    gleam = np.clip(0.8 + 0.7 * _texture(rng, 1, columns, 1, 12)[0], 0.1, 2)
    shine += 1.9 * _line(y, fascia, 0.40) * _facing(fascia, float(xs[1] - xs[0])) * rng.uniform(0.6, 1.1) * gleam
    bone = fascia + thick + 1.2 * np.sin(xs / rng.uniform(4, 9)).astype(np.float32)
    shine += 1.6 * _line(y, bone, 0.55) * gleam[::-1]
    loss[...] = np.where(y > fascia, loss + 0.35, loss)
    loss[...] = np.where(y > bone, 2.6, loss)


def _airway(
    echo: Grid, loss: Grid, shine: Grid, xs: Grid, y: Grid, tx: float, ty: float, transverse: bool,
    gland: npt.NDArray[np.bool_], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Trachea: cartilage, a bright air line and its fading echoes in the shadow (in place)."""
    if transverse:
        rho = np.hypot(xs - tx, y - ty)
        depth = TRACHEA_RADIUS_MM - rho
        lumen, facing = (depth > 0) & ~gland, np.clip((ty - y) / np.maximum(rho, 0.5), 0, 1)
    else:
        depth = np.broadcast_to(y - ty - 0.5 * np.cos(xs * 2.1), echo.shape)
        lumen, facing = (depth > 0) & ~gland, np.ones_like(echo)
    echo[lumen] = _AIR
    cartilage = lumen & (depth < 1.9)
    echo[cartilage] = -13.0
    period = rng.uniform(2.2, 3.2)
    haze = np.clip(0.6 + 0.6 * _texture(rng, len(echo), len(xs), len(echo) // 5, len(xs) // 40), 0, 2)
    for k in range(3):
        ring = np.exp(-(((depth - 2.0 - k * period * 0.6) / (0.35 + 0.25 * k)) ** 2))
        shine += (2.2 * 0.45**k * ring * facing**3 * lumen * haze).astype(np.float32)
    echo[lumen] += 5.0 * (haze[lumen] - 0.6)
    loss[lumen & (depth > 2.2)] = 1.6


def _nodule(
    echo: Grid, loss: Grid, shine: Grid, findings: Findings, nodule: npt.NDArray[np.bool_], radius: Grid,
    edge_radius: Grid, angle: Grid, centre: tuple[float, float], xs: Grid, y: Grid, gland_level: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Paint the nodule: echo level, edge, cystic part, calcifications (in place)."""
    rows, columns = echo.shape
    level = gland_level + _NODULE_DB[findings.echogenicity] + rng.uniform(-1.2, 1.2)
    softness = {"smooth": 0.15, "ill-defined": 0.85, "irregular": 0.20}[findings.margin]
    weight = 1 / (1 + np.exp(np.clip((radius - edge_radius) / (softness * 0.5), -30, 30)))
    inside = level + 1.6 * _texture(rng, rows, columns, max(rows // 8, 4), max(columns // 8, 4))
    echo[...] = weight * inside + (1 - weight) * echo
    if findings.echogenicity in ("isoechoic", "hyperechoic"):
        # What is as bright as the gland is known by its dark halo.
        halo = np.exp(-(((radius - edge_radius + 0.20) / 0.50) ** 2))
        echo -= ((6.0 if findings.margin == "ill-defined" else 9.5) * halo).astype(np.float32)
    size = float(edge_radius[nodule].mean()) if nodule.any() else 1.0
    if findings.margin == "smooth":
        # A thin bright edge where a smooth wall meets the beam.
        wall = np.exp(-(((radius - edge_radius) / 0.18) ** 2)) * np.abs(np.sin(angle)) ** 3
        shine += (0.9 * wall).astype(np.float32)
    if findings.composition != "solid":
        share = 0.55 if findings.composition == "mixed" else 0.9
        ox, oy = rng.uniform(-0.2, 0.2, 2) * size * (1 - share)
        cyst = np.hypot(xs - centre[0] - ox, y - centre[1] - oy) < share * edge_radius
        echo[cyst] = _VESSEL
        loss[cyst] = -0.4
    loss[nodule & (loss > 0)] = 0.62
    if findings.calcification == "micro":
        count = int(np.clip(rng.poisson(3 + 1.3 * size), 4, 28))
        turn, reach = rng.uniform(0, 2 * np.pi, count), 0.82 * np.sqrt(rng.random(count))
        for a, r in zip(turn, reach, strict=True):
            px, py = centre[0] + r * size * np.cos(a), centre[1] + r * size * np.sin(a)
            spot = np.exp(-(((xs - px) / 0.22) ** 2) - ((y - py) / 0.20) ** 2)
            shine += (rng.uniform(2.6, 4.6) * spot * nodule).astype(np.float32)
    elif findings.calcification == "macro":
        a = rng.uniform(0, 2 * np.pi)
        px, py = centre[0] + 0.4 * size * np.cos(a), centre[1] + 0.4 * size * np.sin(a)
        long = max(0.28 * size, 0.7)
        arc = np.exp(-(((xs - px) / long) ** 4) - ((y - py - 0.25 * np.abs(xs - px)) / 0.35) ** 2)
        shine += (7.0 * arc).astype(np.float32)
        behind = (np.abs(xs - px) < long) & (y > py + 0.3)
        loss[behind] = 2.6


def _scan(
    echo: Grid, loss: Grid, shine: Grid, machine: Machine, step: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Scatterers → point spread → envelope → attenuation → noise → log compression → grey levels."""
    rows, columns = echo.shape
    axial = 0.5 * 1.54 / machine.frequency_mhz * 2.0 / step  # pulse of about 2 cycles, two-way, in pixels
    lateral = axial * machine.lateral_spread
    amplitude = np.exp(np.float32(np.log(10) / 20) * echo)
    glint = np.float32(1.5) * shine * (1 + 0.35 * _texture(rng, rows, columns, rows // 4, columns // 6))
    # Compounding: looks with independent speckle, averaged in intensity, as today's machines do.
    scatter = rng.standard_normal((_LOOKS, 2, rows, columns), dtype=np.float32)
    field = scatter * (amplitude + 0.9 * shine)
    field[:, 0] += glint  # an interface reflects partly coherently, partly as diffuse as any tissue
    field = gaussian_filter1d(field, axial, axis=2, truncate=3)
    near = gaussian_filter1d(field, lateral, axis=3, truncate=3)
    far = gaussian_filter1d(near, lateral * 0.9, axis=3, truncate=3)
    depth = (np.arange(rows, dtype=np.float32) + 0.5)[:, None] * step
    away = np.clip(np.abs(depth / machine.depth_mm - 0.45) * 1.6, 0, 1)  # beam widens away from the focus
    field = (1 - away) * near + away * 1.35 * far
    power = 2 * np.sqrt(np.pi) * np.sqrt(axial * lateral)  # keeps the gland at 0 dB whatever the pulse
    compensated = 0.5
    lost = np.cumsum(loss - compensated, axis=0, dtype=np.float32) * step * (machine.frequency_mhz / 11.0)
    lost = gaussian_filter1d(lost, lateral, axis=1, truncate=2)
    attenuation = np.exp(np.float32(-np.log(10) / 20) * (lost - machine.tgc_error_db_per_cm * depth / 10))
    noise = np.float32(10 ** (machine.noise_db / 20)) * rng.standard_normal(field.shape, dtype=np.float32)
    field = power * field * attenuation + noise
    decibel = 10 * np.log10((field**2).sum(1).mean(0) + 1e-9)
    grey = (decibel + 0.66 * machine.dynamic_range_db) / machine.dynamic_range_db
    jitter = rng.uniform(-0.03, 0.03)
    grey = np.clip(grey + machine.gain + jitter - 0.13, 0, 1) ** (machine.gamma * rng.uniform(0.92, 1.08))
    return np.asarray(255 * grey + 0.5).astype(np.uint8)
