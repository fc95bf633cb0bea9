"""How far spectra, heights and both separate the classes of synthetic scenes.

usage: python benches/synth/separability.py benches/runs/synth-separability.json SCENE_DIR...

Each SCENE_DIR is a folder written by `geoglot synth` with the sensor aisa-eagle. A random forest sees the 5 x 5 mean of every band (and for heights
the mean and the spread of DSM - DTM and the mean of the DTM). Pixels are split into 5 folds of 60-pixel blocks with a buffer of 11 pixels; three of the folds
are tested. Needs numpy, scipy, scikit-learn and rasterio.
"""
import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from scipy.ndimage import distance_transform_cdt, uniform_filter
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import cohen_kappa_score, confusion_matrix

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from compare import machine  # noqa: E402

BLOCK, BUFFER, FOLDS, TESTED, TRAIN, TEST = 60, 11, 5, 3, 10_000, 10_000


def read(path):
    with rasterio.open(path) as source:
        return source.read()


def mean5(plane):
    return uniform_filter(plane.astype(np.float64), 5, mode="reflect")


def features(folder):
    spectra = np.stack([mean5(b) for b in read(folder / "aisa-eagle.tif")], -1)
    dsm, dtm = read(folder / "lidar.tif")
    height = dsm.astype(np.float64) - dtm
    mean = mean5(height)
    spread = np.sqrt(np.maximum(mean5(height**2) - mean**2, 0))
    heights = np.stack([mean, spread, mean5(dtm)], -1)
    return {"hsi": spectra, "lidar": heights, "hsi+lidar": np.concatenate([spectra, heights], -1)}


def main():
    result = {}
    for name in sys.argv[2:]:
        folder = Path(name)
        labels = read(folder / "labels.tif")[0]
        height, width = labels.shape
        rng = np.random.default_rng(0)
        blocks = (np.arange(height) // BLOCK)[:, None] * 1000 + (np.arange(width) // BLOCK)[None]
        ids = np.unique(blocks)
        fold = np.zeros(ids.max() + 1, int)
        fold[ids] = rng.permutation(np.arange(len(ids)) % FOLDS)
        fold = fold[blocks]
        inputs = features(folder)
        for k in range(TESTED):
            test = fold == k
            train = np.flatnonzero(distance_transform_cdt(~test, "chessboard") >= BUFFER)
            train = rng.choice(train, min(TRAIN, len(train)), replace=False)
            test = rng.choice(np.flatnonzero(test), min(TEST, test.sum()), replace=False)
            truth = labels.ravel()[test]
            for input_name, x in inputs.items():
                x = x.reshape(height * width, -1)
                forest = RandomForestClassifier(100, n_jobs=-1, random_state=0, min_samples_leaf=2)
                said = forest.fit(x[train], labels.ravel()[train]).predict(x[test])
                matrix = confusion_matrix(truth, said, labels=np.unique(labels))
                recall = np.diag(matrix) / np.maximum(matrix.sum(1), 1)
                row = {
                    "scene": folder.name,
                    "fold": k,
                    "oa": float((said == truth).mean()),
                    "aa": float(recall[matrix.sum(1) > 0].mean()),
                    "kappa": float(cohen_kappa_score(truth, said)),
                }
                result.setdefault(input_name, []).append(row)
    summary = {
        name: {key: [float(np.mean([r[key] for r in rows])), float(np.std([r[key] for r in rows]))] for key in ("oa", "aa", "kappa")}
        for name, rows in result.items()
    }
    for name, row in summary.items():
        print(f"{name:10}", "  ".join(f"{key} {mean:.3f} ± {std:.3f}" for key, (mean, std) in row.items()))
    report = {
        "machine": machine(),
        "classifier": "random forest, 100 trees, 5 x 5 means",
        "split": f"blocks of {BLOCK} px, buffer {BUFFER} px, {TESTED} of {FOLDS} folds",
        "mean_and_std": summary,
        "runs": result,
    }
    Path(sys.argv[1]).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
