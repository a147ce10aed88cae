#include "fix_reference_atom.h"

#include "delete_own_fix.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "modify.h"

#include <algorithm>

using namespace LAMMPS_NS;
using namespace FixConst;

namespace {

std::string name(const char *compute) { return std::string(compute) + "_reference"; }

}    // namespace

FixReferenceAtom *FixReferenceAtom::create(LAMMPS *lmp, const char *compute, const char *group,
                                           int most, const char *style)
{
  // no suffix is tried: a compute on the host keeps its state there
  return dynamic_cast<FixReferenceAtom *>(
      lmp->modify->add_fix(fmt::format("{} {} {} {}", name(compute), group, style, most), 0));
}

FixReferenceAtom *FixReferenceAtom::find(LAMMPS *lmp, const char *compute)
{
  auto *fix = dynamic_cast<FixReferenceAtom *>(lmp->modify->get_fix_by_id(name(compute)));
  if (!fix)
    lmp->error->all(FLERR, "compute {}: its fix {} is gone; do not unfix it", compute,
                    name(compute));
  return fix;
}

void FixReferenceAtom::destroy(LAMMPS *lmp, const char *compute)
{
  delete_own_fix(lmp, name(compute));
}

FixReferenceAtom::FixReferenceAtom(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg)
{
  if (narg != 4) error->all(FLERR, "fix reference/atom: expected the length of the longest row");
  most = utils::inumeric(FLERR, arg[3], false, lmp);
  if (most < 1) error->all(FLERR, "fix reference/atom: {} values must be at least 1", most);

  restart_global = 1;
  restart_peratom = 1;
  create_attribute = 1;
  maxexchange = most + 1;
  FixReferenceAtom::grow_arrays(atom->nmax);
  atom->add_callback(Atom::GROW);
  atom->add_callback(Atom::RESTART);
}

FixReferenceAtom::~FixReferenceAtom()
{
  atom->delete_callback(id, Atom::GROW);
  atom->delete_callback(id, Atom::RESTART);
}

void FixReferenceAtom::write_restart(FILE *file)
{
  if (comm->me) return;
  const double n = static_cast<double>(global.size());
  const int bytes = static_cast<int>((1 + global.size()) * sizeof(double));
  fwrite(&bytes, sizeof(int), 1, file);
  fwrite(&n, sizeof(double), 1, file);
  fwrite(global.data(), sizeof(double), global.size(), file);
}

void FixReferenceAtom::restart(char *buffer)
{
  const auto *values = reinterpret_cast<const double *>(buffer);
  global.assign(values + 1, values + 1 + static_cast<int>(values[0]));
}

void FixReferenceAtom::grow_arrays(int nmax) { rows.resize(nmax); }

void FixReferenceAtom::copy_arrays(int from, int to, int) { rows[to] = rows[from]; }

void FixReferenceAtom::set_arrays(int i) { rows[i].clear(); }

int FixReferenceAtom::pack_exchange(int i, double *buffer)
{
  buffer[0] = static_cast<double>(rows[i].size());
  std::copy(rows[i].begin(), rows[i].end(), buffer + 1);
  return 1 + static_cast<int>(rows[i].size());
}

int FixReferenceAtom::unpack_exchange(int i, double *buffer)
{
  const int n = static_cast<int>(buffer[0]);
  rows[i].assign(buffer + 1, buffer + 1 + n);
  return 1 + n;
}

int FixReferenceAtom::pack_restart(int i, double *buffer)
{
  buffer[0] = size_restart(i);
  std::copy(rows[i].begin(), rows[i].end(), buffer + 1);
  return size_restart(i);
}

void FixReferenceAtom::unpack_restart(int i, int nth)
{
  const double *extra = atom->extra[i];
  for (int k = 0; k < nth; ++k) extra += static_cast<int>(*extra);
  rows[i].assign(extra + 1, extra + static_cast<int>(*extra));
}

int FixReferenceAtom::size_restart(int i) { return 1 + static_cast<int>(rows[i].size()); }

int FixReferenceAtom::maxsize_restart() { return 1 + most; }

double FixReferenceAtom::memory_usage()
{
  double bytes = static_cast<double>(rows.capacity() * sizeof(rows[0]));
  for (const auto &row : rows) bytes += static_cast<double>(row.capacity() * sizeof(double));
  return bytes;
}
