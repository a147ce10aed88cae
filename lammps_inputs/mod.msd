# mod.msd: squared displacements of the mobile ion since the start of this stage, a block of
# msd_motif.dat each motif_every. A resumed run reads its origins back from its restart file, by
# the compute's ID.
# Reads: motif_interval motif_file folder, group mobile of mod.elements (+ mod.motif)
# A row: class at the origin, ions, MSD and its x, y, z in A2; ions that never left the class and
# their MSD.

compute msd_motif mobile msd/motif motif
fix msd_motifs all ave/time ${motif_interval} 1 ${motif_interval} &
  c_msd_motif[1] c_msd_motif[2] c_msd_motif[3] c_msd_motif[4] c_msd_motif[5] c_msd_motif[6] &
  c_msd_motif[7] mode vector ${motif_file} ${folder}/msd_motif.dat &
  title1 "# MSD since the start of the stage, by class at the origin" title2 "# step rows" &
  title3 "# class count msd_A2 x_A2 y_A2 z_A2 survivors survivors_msd_A2"
