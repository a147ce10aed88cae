// How a compute deletes a fix that it made.

#ifndef LBPSI_DELETE_OWN_FIX_H
#define LBPSI_DELETE_OWN_FIX_H

#include "modify.h"

#include <string>

namespace LAMMPS_NS {

inline void delete_own_fix(LAMMPS *lmp, const std::string &id)
{
  // the fixes are gone first when LAMMPS ends
  if (lmp->modify->nfix && lmp->modify->get_fix_by_id(id)) lmp->modify->delete_fix(id);
}

}    // namespace LAMMPS_NS

#endif
