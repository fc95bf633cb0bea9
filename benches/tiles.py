"""Tiles of benchmarks: GeoTIFFs with band names, class names of a legend."""

import tomllib

import rasterio


def write(path, data, transform, crs, names):
    """Writes `data` [C, H, W] with band names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = dict(driver="GTiff", height=data.shape[1], width=data.shape[2], count=data.shape[0], dtype=data.dtype)
    with rasterio.open(path, "w", transform=transform, crs=crs, **profile) as out:
        out.write(data)
        out.descriptions = names


def legend_of(path):
    """Class names by id."""
    return {c["id"]: c["name"] for c in tomllib.loads(path.read_text())["class"]}
