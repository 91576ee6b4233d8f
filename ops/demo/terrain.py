"""Slope and hillshade of one tile of an elevation model, as a dataset directory: a program that jobs run.

    python terrain.py --tile ROW,COL --out DIR [--grid ROWS,COLS] [--dem FILE] [--name NAME] [--linger SECONDS]

Rows count from the north, columns from the west, both from 0. Needs numpy, matplotlib and Pillow, nothing else; reads
the elevation model that matplotlib ships (the Jacksboro fault, Tennessee, at 3 arc seconds) unless `--dem` names an
.npz file with the same keys. Exits with 2 and a message on stderr if it is asked for what can't be done.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "v1.0"
SAMPLE = "jacksboro_fault_dem.npz"
SOURCE = "Jacksboro fault, Tennessee: digital elevation model shipped with matplotlib as jacksboro_fault_dem.npz"
#: degrees clockwise from north, degrees above the horizon: where a map's light comes from by convention
SUN_AZIMUTH, SUN_ALTITUDE = 315.0, 45.0
#: times the image's size is enlarged, width in pixels of the small one
ENLARGE, SMALL_WIDTH = 4, 160


@dataclass(frozen=True)
class Model:
    """An elevation model: metres, row 0 in the north. `north` and `west` are pixel edges, in degrees."""

    elevation: Any
    north: Any
    west: Any

    @classmethod
    def read(cls, path: Path | None) -> "Model":
        """Read an .npz file, matplotlib's sample by default. Raises OSError, KeyError or ValueError if it isn't one."""
        if path is None:
            from matplotlib.cbook import get_sample_data

            path = Path(get_sample_data(SAMPLE, asfileobj=False))
        with np.load(path, allow_pickle=False) as file:
            elevation = np.asarray(file["elevation"], dtype=float)
            south, north = sorted((float(file["ymin"]), float(file["ymax"])))
            west, east = sorted((float(file["xmin"]), float(file["xmax"])))
        rows, cols = elevation.shape
        return cls(elevation, np.linspace(north, south, rows + 1), np.linspace(west, east, cols + 1))


@dataclass(frozen=True)
class Window:
    """One tile: the rows `top` to before `bottom` and columns `left` to before `right` of a model."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of_tile(cls, model: Model, grid: tuple[int, int], tile: tuple[int, int]) -> "Window":
        """Cut a model into `grid` = (rows, cols) tiles without gap or overlap, as even as whole pixels allow.

        Raises ValueError if the grid is finer than the pixels, or has no such tile.
        """
        shape = model.elevation.shape
        for count, size, index, what in zip(grid, shape, tile, ("row", "column"), strict=True):
            if not 1 <= count <= size:
                raise ValueError(
                    f"a grid of {grid[0]} x {grid[1]} tiles can't be cut from {shape[0]} x {shape[1]} pixels"
                )
            if not 0 <= index < count:
                raise ValueError(f"tile {what} {index} is outside the model: there are {count}, counted from 0")
        top, bottom = (shape[0] * i // grid[0] for i in (tile[0], tile[0] + 1))
        left, right = (shape[1] * i // grid[1] for i in (tile[1], tile[1] + 1))
        return cls(top, bottom, left, right)

    def bounds(self, model: Model) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees: the outer edges of the outer pixels."""
        return (
            float(model.west[self.left]),
            float(model.north[self.bottom]),
            float(model.west[self.right]),
            float(model.north[self.top]),
        )

    def cut(self, values: Any) -> Any:
        """The tile's part of an array of the whole model."""
        return values[self.top : self.bottom, self.left : self.right]


def metres_per_degree(latitude: Any) -> tuple[Any, Any]:
    """Length of one degree of longitude and of latitude, on the WGS 84 ellipsoid, at a latitude in degrees."""
    phi = np.radians(latitude)
    east = 111412.84 * np.cos(phi) - 93.5 * np.cos(3 * phi) + 0.118 * np.cos(5 * phi)
    north = 111132.92 - 559.82 * np.cos(2 * phi) + 1.175 * np.cos(4 * phi) - 0.0023 * np.cos(6 * phi)
    return east, north


def pixel_size(model: Model) -> tuple[Any, Any]:
    """Metres from one pixel to the next, eastwards and northwards, as a column: one value for each row."""
    middle = (model.north[:-1] + model.north[1:]) / 2
    east, north = metres_per_degree(middle)
    width = (model.west[-1] - model.west[0]) / (len(model.west) - 1)
    height = (model.north[0] - model.north[-1]) / (len(model.north) - 1)
    return (east * width)[:, None], (north * height)[:, None]


def gradient(elevation: Any, dx: Any, dy: Any) -> tuple[Any, Any]:
    """Metres of rise per metre eastwards and northwards: Horn's method (1981), weighing the eight neighbours.

    Beyond the model's border the terrain is taken to go on as it does at the border, so that a plane stays one.
    """
    z = np.pad(elevation, 1, mode="reflect", reflect_type="odd")
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    return (east - west) / (8 * dx), (north - south) / (8 * dy)


def slope(gx: Any, gy: Any) -> Any:
    """Steepness in degrees from the horizontal."""
    return np.degrees(np.arctan(np.hypot(gx, gy)))


def hillshade(gx: Any, gy: Any, azimuth: float = SUN_AZIMUTH, altitude: float = SUN_ALTITUDE) -> Any:
    """How brightly the sun lights the ground, 0 to 1: the cosine of its angle to the surface, 0 behind a ridge."""
    a, h = np.radians(azimuth), np.radians(altitude)
    lit = -gx * np.sin(a) * np.cos(h) - gy * np.cos(a) * np.cos(h) + np.sin(h)
    return np.clip(lit / np.sqrt(gx**2 + gy**2 + 1), 0.0, 1.0)


def relief(elevation: Any, shade: Any, lowest: float, highest: float) -> Any:
    """An RGB image, 8 bits: colour by height between `lowest` and `highest`, brightness by hillshade."""
    from matplotlib import colormaps

    height = (elevation - lowest) / max(highest - lowest, 1.0)
    colour = colormaps["gist_earth"](0.25 + 0.7 * height)[..., :3]
    light = (0.35 + 0.9 * shade)[..., None]
    return np.clip(colour * light * 255, 0, 255).astype(np.uint8)


def write_images(directory: Path, name: str, picture: Any) -> None:
    """Write `<name>.browse.png` and `<name>.browse_small.png`."""
    from PIL import Image

    image = Image.fromarray(picture)
    large = image.resize((image.width * ENLARGE, image.height * ENLARGE), Image.Resampling.BICUBIC)
    large.save(directory / f"{name}.browse.png", optimize=True)
    height = max(1, round(SMALL_WIDTH * image.height / image.width))
    large.resize((SMALL_WIDTH, height), Image.Resampling.LANCZOS).save(directory / f"{name}.browse_small.png")


def describe(bounds: tuple[float, float, float, float], label: str) -> dict[str, Any]:
    """The content of dataset.json: what the tile is and where on Earth."""
    west, south, east, north = bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "version": VERSION,
        "label": label,
        "location": {"type": "Polygon", "coordinates": [ring]},
        "creation_timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }


def measure(elevation: Any, steepness: Any, shade: Any, dx: Any, dy: Any) -> dict[str, Any]:
    """The statistics of met.json: elevations and pixel sizes in metres, slopes in degrees, hillshade 0 to 1."""
    return {
        "elevation_min": float(elevation.min()),
        "elevation_max": float(elevation.max()),
        "elevation_mean": float(elevation.mean()),
        "slope_mean": float(steepness.mean()),
        "slope_max": float(steepness.max()),
        "hillshade_mean": float(shade.mean()),
        "pixel_size_east": float(dx.mean()),
        "pixel_size_north": float(dy.mean()),
        "rows": elevation.shape[0],
        "cols": elevation.shape[1],
        "sun_azimuth": SUN_AZIMUTH,
        "sun_altitude": SUN_ALTITUDE,
        "source": SOURCE,
    }


def make_product(model: Model, grid: tuple[int, int], tile: tuple[int, int], out: Path, name: str) -> Path:
    """Write the dataset directory of one tile below `out` and return it.

    The gradient is that of the whole model, so that neighbouring tiles fit without a seam. The description comes
    last: a directory without one is no dataset. Raises ValueError as `Window.of_tile`, OSError if it can't write.
    """
    window = Window.of_tile(model, grid, tile)
    width, height = pixel_size(model)
    gx, gy = gradient(model.elevation, width, height)
    elevation, steepness, shade = (window.cut(x) for x in (model.elevation, slope(gx, gy), hillshade(gx, gy)))
    identity = f"TERRAIN_{name}_{grid[0]}x{grid[1]}_r{tile[0]:02}_c{tile[1]:02}"
    directory = out / identity
    directory.mkdir(parents=True, exist_ok=True)
    west, south, east, north = window.bounds(model)
    np.savez_compressed(
        directory / f"{identity}.npz",
        elevation=elevation.astype(np.int16),
        slope=steepness.astype(np.float32),
        hillshade=shade.astype(np.float32),
        bounds=np.array([west, south, east, north]),
    )
    picture = relief(elevation, shade, float(model.elevation.min()), float(model.elevation.max()))
    write_images(directory, identity, picture)
    rows = slice(window.top, window.bottom)
    statistics = {**measure(elevation, steepness, shade, width[rows], height[rows]), "tile": tile, "grid": grid}
    (directory / f"{identity}.met.json").write_text(json.dumps(statistics, indent=2))
    label = f"Slope and hillshade, tile {tile[0]},{tile[1]} of {grid[0]} x {grid[1]}"
    description = describe((west, south, east, north), label)
    (directory / f"{identity}.dataset.json").write_text(json.dumps(description, indent=2))
    return directory


def pair(text: str) -> tuple[int, int]:
    """Two whole numbers with a comma between. Raises ValueError for anything else."""
    first, second = text.split(",")
    return int(first), int(second)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Slope and hillshade of one tile of an elevation model")
    parser.add_argument("--tile", type=pair, required=True, metavar="ROW,COL", help="from the north-west, from 0")
    parser.add_argument("--out", type=Path, required=True, help="where the dataset directory is made")
    parser.add_argument("--grid", type=pair, default=(3, 4), metavar="ROWS,COLS", help="tiles, 3,4 by default")
    parser.add_argument("--dem", type=Path, help="elevation model (.npz), matplotlib's sample by default")
    parser.add_argument("--name", default="jacksboro", help="part of the product's id")
    parser.add_argument("--linger", type=float, default=0.0, help="seconds to do nothing before writing anything")
    return parser


def main() -> int:
    """Run the program; see the module. Returns the exit code."""
    options = arguments().parse_args()
    # matplotlib wants a directory to write to, and in a container only the job's own is writable.
    os.environ.setdefault("MPLCONFIGDIR", str(options.out / ".matplotlib"))
    try:
        model = Model.read(options.dem)
        Window.of_tile(model, options.grid, options.tile)
        time.sleep(options.linger)
        directory = make_product(model, options.grid, options.tile, options.out, options.name)
    except (ValueError, KeyError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
