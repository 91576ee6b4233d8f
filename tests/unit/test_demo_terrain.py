import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ops.demo import terrain
from ops.demo.terrain import Model, Window
from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.publisher import publish
from pipeline.datasets.rules import load

PROGRAM = Path(terrain.__file__)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.read(None)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_the_sample_is_the_jacksboro_fault(model: Model) -> None:
    assert model.elevation.shape == (344, 403)
    assert (model.north[0], model.north[-1]) == (36.73291666666667, 36.44625)
    assert (model.west[0], model.west[-1]) == (-84.41375, -84.07791666666667)
    assert (model.elevation.min(), model.elevation.max()) == (236, 1076)


@pytest.mark.parametrize("grid", [(3, 4), (1, 1), (7, 5), (344, 1)])
def test_tiles_cover_every_pixel_once_and_share_their_edges(model: Model, grid: tuple[int, int]) -> None:
    covered = np.zeros(model.elevation.shape, dtype=int)
    boxes = {}
    for row in range(grid[0]):
        for col in range(grid[1]):
            window = Window.of_tile(model, grid, (row, col))
            window.cut(covered)[...] += 1
            boxes[row, col] = window.bounds(model)
    assert covered.min() == covered.max() == 1
    for (row, col), (west, south, east, north) in boxes.items():
        assert west < east
        assert south < north
        assert boxes.get((row, col + 1), (east,))[0] == east
        assert boxes.get((row + 1, col), (0, 0, 0, south))[3] == south
    assert boxes[0, 0][0] == model.west[0]
    assert boxes[0, 0][3] == model.north[0]
    assert boxes[grid[0] - 1, grid[1] - 1][1:3] == (model.north[-1], model.west[-1])


def test_a_bounding_box_is_where_its_pixels_are(model: Model) -> None:
    """Pixels are 3 arc seconds: the box of a tile follows from its indices alone."""
    window = Window.of_tile(model, (3, 4), (1, 2))
    west, south, east, north = window.bounds(model)
    step = 3 / 3600
    assert west == pytest.approx(-84.41375 + window.left * step, abs=1e-9)
    assert east == pytest.approx(-84.41375 + window.right * step, abs=1e-9)
    assert north == pytest.approx(36.73291666666667 - window.top * step, abs=1e-9)
    assert south == pytest.approx(36.73291666666667 - window.bottom * step, abs=1e-9)


@pytest.mark.parametrize(("tile", "said"), [((3, 0), "row 3"), ((0, 4), "column 4"), ((-1, 0), "row -1")])
def test_a_tile_outside_the_model_is_refused(model: Model, tile: tuple[int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Window.of_tile(model, (3, 4), tile)


def test_a_degree_has_its_length_on_the_ellipsoid() -> None:
    """Values of WGS 84 at the equator, at 45 degrees and at the pole, in metres."""
    east, north = terrain.metres_per_degree(np.array([0.0, 45.0, 90.0]))
    assert east == pytest.approx([111319.5, 78847.0, 0.0], abs=1.0)
    assert north == pytest.approx([110574.3, 111131.8, 111694.0], abs=1.0)


@pytest.mark.parametrize(("rise_east", "rise_north"), [(0.0, 0.0), (0.5, 0.0), (0.0, -1.0), (0.3, 0.4)])
def test_a_plane_has_one_slope_everywhere_its_border_included(rise_east: float, rise_north: float) -> None:
    y, x = np.mgrid[0:12, 0:9]
    dx, dy = 74.0, 92.0
    plane = 100 + x * dx * rise_east - y * dy * rise_north
    gx, gy = terrain.gradient(plane, dx, dy)
    assert np.allclose(gx, rise_east)
    assert np.allclose(gy, rise_north)
    assert np.allclose(terrain.slope(gx, gy), math.degrees(math.atan(math.hypot(rise_east, rise_north))))


def test_hillshade_is_full_towards_the_sun_and_dark_away_from_it() -> None:
    """A slope of 45 degrees that faces the sun at 45 degrees gets all its light; its other side none."""
    rise = math.sqrt(0.5)
    north_west_face = terrain.hillshade(np.array([rise]), np.array([-rise]))
    south_east_face = terrain.hillshade(np.array([-rise]), np.array([rise]))
    flat = terrain.hillshade(np.array([0.0]), np.array([0.0]))
    assert north_west_face == pytest.approx(1.0)
    assert south_east_face == pytest.approx(0.0, abs=1e-12)
    assert flat == pytest.approx(math.sin(math.radians(45)))


def test_hillshade_and_slope_of_real_terrain_stay_in_range(model: Model) -> None:
    gx, gy = terrain.gradient(model.elevation, *terrain.pixel_size(model))
    shade, steepness = terrain.hillshade(gx, gy), terrain.slope(gx, gy)
    assert shade.min() >= 0
    assert shade.max() <= 1
    assert shade.std() > 0.05
    assert 0 <= steepness.min() < steepness.max() < 60


def test_neighbouring_tiles_have_no_seam(model: Model, tmp_path: Path) -> None:
    """Put together, the tiles' slopes are those of the model computed in one piece."""
    gx, gy = terrain.gradient(model.elevation, *terrain.pixel_size(model))
    whole = terrain.slope(gx, gy).astype(np.float32)
    for tile in ((0, 0), (0, 1)):
        product = terrain.make_product(model, (1, 2), tile, tmp_path, "x")
        with np.load(product / f"{product.name}.npz") as data:
            assert np.array_equal(data["slope"], Window.of_tile(model, (1, 2), tile).cut(whole))


async def test_the_program_makes_a_product_that_its_rules_recognise(model: Model, tmp_path: Path) -> None:
    job, store = tmp_path / "job", tmp_path / "store"
    job.mkdir()
    done = run("--tile", "1,2", "--out", str(job))
    assert (done.returncode, done.stderr) == (0, "")
    name = "TERRAIN_jacksboro_3x4_r01_c02"
    met = json.loads((job / name / f"{name}.met.json").read_text())
    tile = Window.of_tile(model, (3, 4), (1, 2)).cut(model.elevation)
    assert (met["rows"], met["cols"]) == tile.shape
    assert (met["elevation_min"], met["elevation_max"]) == (tile.min(), tile.max())
    assert met["pixel_size_east"] == pytest.approx(74.5, abs=0.5)
    assert met["pixel_size_north"] == pytest.approx(92.5, abs=0.5)

    async def granted() -> bool:
        return True

    document = {"job_id": "family-1", "payload_hash": "0" * 32}
    rules = load(PROGRAM.with_name("datasets.json"))
    published = await publish(job, document, 1, "worker-1", rules, DirectoryStore(store), granted)
    made = published.documents[0]
    assert made["id"] == name
    assert made["images"] == [{"img": f"{name}.browse.png", "small_img": f"{name}.browse_small.png", "tooltip": name}]
    ring = made["location"]["coordinates"][0]
    assert ring[0] == list(Window.of_tile(model, (3, 4), (1, 2)).bounds(model)[:2])
    where = store / "terrain/v1.0/jacksboro/3x4" / name
    assert made["urls"] == [where.as_uri()]
    assert (where / f"{name}.browse.png").read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_done_is_said_on_stderr_with_exit_code_2(tmp_path: Path) -> None:
    outside = run("--tile", "9,9", "--out", str(tmp_path))
    assert outside.returncode == 2
    assert outside.stderr == "ValueError: tile row 9 is outside the model: there are 3, counted from 0\n"
    assert run("--tile", "0,0", "--out", str(tmp_path), "--dem", "/nowhere.npz").returncode == 2
    assert list(tmp_path.rglob("*.json")) == []


def test_lingering_writes_nothing_so_that_a_time_limit_leaves_no_product(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, str(PROGRAM), "--tile", "0,0", "--out", str(tmp_path), "--linger", "600"],
            check=False,
            timeout=3,
        )
    assert list(tmp_path.rglob("*.json")) == []


def test_the_program_imports_nothing_of_this_project() -> None:
    code = f"import runpy, sys; runpy.run_path({str(PROGRAM)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=60)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert not roots & {"pipeline", "agents", "ops", "schemas"}
