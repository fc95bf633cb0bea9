#!/usr/bin/env bash
# An archive of the sample scenes of many sensors in GEOGLOT_DATA, and searches in words.
#   GEOGLOT_DATA=… benches/sample_archive.sh MODEL [OUT]
# MODEL is an any-band tower, as `geoglot train recipes/rsicd-anyband.toml` trains it.
set -euo pipefail
model=$1 out=${2:-out/samples} data=${GEOGLOT_DATA:?the folder of sample data} geoglot=target/release/geoglot
scenes=("$data/sen1floods11/sample/S2/Spain_7370579_S2Hand.tif:sensor=sentinel-2-l1c,layout=standard"
    "$data/landsat-stars/L7_ETMs.tif:sensor=landsat-7-l1,layout=six-reflective")
add() { for file in "${@:2}"; do scenes+=("${file%/}$1"); done; }
add :sensor=sentinel-2-l1c,layout=standard "$data"/terramind/examples/S2L1C/*.tif
add :sensor=sentinel-2-l2a,layout=standard "$data"/terramind/examples/S2L2A/*.tif
add :sensor=sentinel-1-rtc,layout=standard "$data"/terramind/examples/S1RTC/*.tif
add :sensor=rgb,layout=standard "$data"/terramind/examples/S2RGB/*.tif
add :sensor=sentinel-2-l2a "$data"/bigearthnet/paired-s1-s2/BigEarthNet-S2-Example/*/ "$data"/bigearthnet/s2-and-s1-from-history/tiny/*/
add "" "$data"/hit-uav/test/*.jpg "$data"/rsicd-aid/images/*.jpg
"$geoglot" embed "${scenes[@]}" --model "$model" --stride 54 --thumbnails --out "$out" --resume
"$geoglot" index info "$out/archive"
for words in "a beach with white waves" "a playground with a football field" "planes at an airport" "desert sand"; do
    echo "== $words"
    "$geoglot" index search "$out/archive" --text "$words" -k 5 --dedup 0.3
    "$geoglot" index search "$out/archive" --text "$words" -k 24 --dedup 0.3 --format html --out "$out/${words// /-}.html"
done
"$geoglot" index search "$out/archive" --text "green fields" --sensor sentinel-2-l2a -k 5
