#!/usr/bin/env python3
"""FAISS on the vectors of `search_speed`: CPU ms per query, recall@10 against exact, memory of the index.

    python benches/index/faiss_search.py DIR --dim 512 [--threads 1] [--json FILE]

DIR holds `vectors.f32` and `queries.f32` as written by
`cargo run --release -p geoglot-index --example search_speed -- --dir DIR`. Needs `pip install faiss-cpu numpy`.
"""

import argparse
import json
import os
import time
from pathlib import Path

import faiss
import numpy as np

K = 10


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    return float("nan")


def cpu_ms() -> float:
    times = os.times()
    return 1e3 * (times.user + times.system)


def measure(name, index, queries, truth, batch, rows, note=""):
    index.search(queries[:batch], K)
    cpu, wall = cpu_ms(), time.perf_counter()
    found = np.concatenate([index.search(queries[i : i + batch], K)[1] for i in range(0, len(queries), batch)])
    n = len(queries)
    cpu, wall = (cpu_ms() - cpu) / n, (time.perf_counter() - wall) * 1e3 / n
    recall = 1.0 if truth is None else float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth)]))
    rows.append({"name": name, "cpu_ms": cpu, "wall_ms": wall, "recall_at_10": recall, "note": note})
    print(f"{name:<34} CPU {cpu:8.2f} ms  wall {wall:8.2f} ms  recall@10 {recall:.4f}  {note}", flush=True)
    return found


def build(make, vectors):
    memory, cpu = resident_mb(), cpu_ms()
    index = make()
    if not index.is_trained:
        index.train(vectors[:: max(1, len(vectors) // 200_000)])
    # In parts, so that a file mapped from disk is never in memory as a whole.
    for start in range(0, len(vectors), 1_000_000):
        index.add(np.ascontiguousarray(vectors[start : start + 1_000_000]))
    return index, f"build CPU {(cpu_ms() - cpu) / 1e3:.1f} s, {resident_mb() - memory:.0f} MB"


def exact(queries, vectors, chunk=500_000):
    """Row numbers of the K nearest of every query, over files larger than memory."""
    best, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(vectors), chunk):
        near, found = faiss.knn(queries, np.ascontiguousarray(vectors[start : start + chunk]), K, metric=faiss.METRIC_INNER_PRODUCT)
        best, rows = np.concatenate([best, near], 1), np.concatenate([rows, found + start], 1)
        order = np.argsort(-best, 1)[:, :K]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rows", type=int, help="only the first so many vectors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=["flat", "sq8", "sq4", "fastscan", "ivf", "hnsw"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    faiss.omp_set_num_threads(args.threads)
    vectors = np.memmap(args.dir / "vectors.f32", dtype=np.float32, mode="r").reshape(-1, args.dim)[: args.rows]
    queries = np.fromfile(args.dir / "queries.f32", dtype=np.float32).reshape(-1, args.dim)
    d, ip, rows = args.dim, faiss.METRIC_INNER_PRODUCT, []

    print(f"faiss {faiss.__version__}, {len(vectors)} × {d}, {args.threads} threads")
    if {"flat", "sq4", "fastscan"} & set(args.only):
        flat, note = build(lambda: faiss.IndexFlatIP(d), vectors)
        truth = measure("IndexFlatIP, batch of 32", flat, queries, None, 32, rows, note)
    else:
        truth = exact(queries, vectors)
    if "flat" in args.only:
        measure("IndexFlatIP, single", flat, queries[:20], truth[:20], 1, rows)

    if "sq8" in args.only:
        index, note = build(lambda: faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit, ip), vectors)
        measure("SQ8, single", index, queries, truth, 1, rows, note)
    if "sq4" in args.only:
        index, note = build(lambda: faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_4bit, ip), vectors)
        measure("SQ4, single", index, queries, truth, 1, rows, note)
        for factor in (4, 16):
            refine = faiss.IndexRefine(index, flat)
            refine.k_factor = factor
            measure(f"SQ4 + refine ×{factor}, single", refine, queries, truth, 1, rows)
    if "fastscan" in args.only:
        # 4-bit product quantisation with in-register look-up tables: two values a code.
        index, note = build(lambda: faiss.IndexPQFastScan(d, d // 2, 4, ip), vectors)
        for factor in (1, 10, 100):
            refine = faiss.IndexRefine(index, flat)
            refine.k_factor = factor
            measure(f"PQ{d // 2}x4fs + refine ×{factor}, single", refine, queries, truth, 1, rows, note)
            note = ""
    if "ivf" in args.only:
        quantizer = faiss.IndexFlatIP(d)
        index, note = build(lambda: faiss.IndexIVFFlat(quantizer, d, 1024, ip), vectors)
        for probes in (8, 32, 128, 512):
            index.nprobe = probes
            measure(f"IVF1024,Flat probes {probes}, single", index, queries, truth, 1, rows, note)
            note = ""
    if "ivf16" in args.only:
        # For archives larger than memory in f32: half floats in lists, as FAISS's guidelines say for ten million.
        quantizer = faiss.IndexFlatIP(d)
        index, note = build(lambda: faiss.IndexIVFScalarQuantizer(quantizer, d, 4096, faiss.ScalarQuantizer.QT_fp16, ip, False), vectors)
        for probes in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            index.nprobe = probes
            measure(f"IVF4096,SQfp16 probes {probes}, single", index, queries, truth, 1, rows, note)
            note = ""
    if "hnsw16" in args.only:
        # The same graph as ours: 2 × 12 neighbours at the base, effort 64, half floats.
        def graph():
            index = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_fp16, 12, ip)
            index.hnsw.efConstruction = 64
            return index

        index = None
        index, note = build(graph, vectors)
        for ef in (16, 32, 64, 128, 256, 512, 1024):
            index.hnsw.efSearch = ef
            measure(f"HNSW12,SQfp16 ef {ef}, single", index, queries, truth, 1, rows, note)
            note = ""
    if "hnsw" in args.only:
        index = None
        index, note = build(lambda: faiss.IndexHNSWFlat(d, 32, ip), vectors)
        for ef in (32, 128, 512):
            index.hnsw.efSearch = ef
            measure(f"HNSW32 ef {ef}, single", index, queries, truth, 1, rows, note)
            note = ""
    if args.json:
        report = {"faiss": faiss.__version__, "dim": d, "rows": len(vectors), "threads": args.threads, "results": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
