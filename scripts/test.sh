#!/usr/bin/env bash
# The test command of the README. Tests that need data or a model say `skipped: …` when it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --release --workspace "$@"
