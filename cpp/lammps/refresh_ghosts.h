// Positions of ghosts, and how a LAMMPS with KOKKOS tells the host of them.

#ifndef LBPSI_REFRESH_GHOSTS_H
#define LBPSI_REFRESH_GHOSTS_H

namespace LAMMPS_NS {
class LAMMPS;
}

namespace lbpsi {

// Put ghosts where the atoms and the box are now, wherever LAMMPS keeps them. Collective. One
// definition in each plugin.
void refresh_ghosts(LAMMPS_NS::LAMMPS *);

}    // namespace lbpsi

#endif
