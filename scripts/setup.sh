#!/usr/bin/env bash
# What the checks need beside cargo: rustfmt and clippy, and (optional) the MiniLM text tower for the tests that use the real one.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer" >&2; exit 1; }
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
