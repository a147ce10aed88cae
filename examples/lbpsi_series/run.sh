#!/bin/bash
# Five glasses 30Li2S-(30-x)B2S3-45LiI-xP2S5, three replicas each, to a table beside paper 000:
#
#   bash examples/lbpsi_series/run.sh [FOLDER] [PROCESSES]
#
# The same command goes on with what a killed one has not finished.
set -euo pipefail

export here folder python
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-runs/lbpsi_series}
python=${PYTHON:-python}

replica() {
    local x=$1 atoms=$2 composition=$3 seed=$4
    local glass=$folder/x$x/g$seed config=(--config "$here/glass.toml" --seed "$seed")
    local driver=("$python" -m lbpsi_driver)
    mkdir -p "$glass"
    {
        "${driver[@]}" build "${config[@]}" --composition "$composition" --atoms "$atoms" --output "$glass/cell"
        "${driver[@]}" quench "${config[@]}" --data "$glass/cell/data.lammps" --output "$glass/quench"
        "${driver[@]}" sweep "${config[@]}" --data "$glass/quench/data.quenched" --output "$glass/sweep"
    } >> "$glass/log" 2>&1 || { echo "x = $x, replica $seed: failed, see $glass/log" >&2; return 255; }
    echo "x = $x, replica $seed: $(date +%T)"
}
export -f replica

for seed in 1 2 3; do
    echo "0    132  30Li2S-30B2S3-45LiI            $seed"
    echo "2.5  134  30Li2S-27.5B2S3-45LiI-2.5P2S5  $seed"
    echo "5    136  30Li2S-25B2S3-45LiI-5P2S5      $seed"
    echo "7.5  138  30Li2S-22.5B2S3-45LiI-7.5P2S5  $seed"
    echo "10   140  30Li2S-20B2S3-45LiI-10P2S5     $seed"
done | xargs -P "${2:-2}" -L 1 bash -c 'replica "$@"' replica

runs=()
for sweep in "$folder"/x*/g*/sweep; do runs+=(--run "$sweep"); done
"$python" -m lbpsi_driver analyze --config "$here/glass.toml" "${runs[@]}" --output "$folder/series"
"$python" -m lbpsi_driver compare "$folder/series" --paper lbpsi
