#!/bin/sh
# resume.sh FOLDER: the variables by which a deck goes on from FOLDER's newest whole restart file, none
# where there is none.
#
#   mpirun -n 2 lmp -in lammps_inputs/quench.in … -var folder runs/a $(sh lammps_inputs/resume.sh runs/a)
#
# LAMMPS ends a restart file with the words that it begins with; one that was cut short lacks them. The
# file that is read is written second, so that there is a whole one at any time.
for file in $(ls -t "$1/restart.a" "$1/restart.b" 2>/dev/null); do
    tail -c 16 "$file" | grep -qa 'LammpS RestartT' || continue
    case $file in
    *.a) order="-var restart_a restart.b -var restart_b restart.a" ;;
    *) order="-var restart_a restart.a -var restart_b restart.b" ;;
    esac
    echo "-var restart $file -var append yes $order"
    exit
done
