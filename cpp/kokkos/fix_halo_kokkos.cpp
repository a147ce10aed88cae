#include "fix_halo_kokkos.h"

#include "../lammps/delete_own_fix.h"

#include "comm.h"
#include "error.h"
#include "modify.h"

#include <algorithm>
#include <string>

using namespace LAMMPS_NS;
using lbpsi::kk::ForwardBuffer;
using lbpsi::kk::ForwardList;

namespace {

// LAMMPS sizes its buffers from comm_forward once, before the widest row is known: wider rows
// travel in pieces of this many columns.
constexpr int SLOTS = 24;

std::string name(const char *compute) { return std::string(compute) + "_halo"; }

}    // namespace

FixHaloKokkos *FixHaloKokkos::create(LAMMPS *lmp, const char *compute)
{
  return dynamic_cast<FixHaloKokkos *>(lmp->modify->add_fix(name(compute) + " all halo/kk", 0));
}

FixHaloKokkos *FixHaloKokkos::find(LAMMPS *lmp, const char *compute)
{
  auto *fix = dynamic_cast<FixHaloKokkos *>(lmp->modify->get_fix_by_id(name(compute)));
  if (!fix)
    lmp->error->all(FLERR, "compute {}: its fix {} is gone; do not unfix it", compute,
                    name(compute));
  return fix;
}

void FixHaloKokkos::destroy(LAMMPS *lmp, const char *compute)
{
  delete_own_fix(lmp, name(compute));
}

FixHaloKokkos::FixHaloKokkos(LAMMPS *lmp, int narg, char **arg) :
    Fix(lmp, narg, arg), begin(0), count(0), on_host(false)
{
  kokkosable = 1;
  forward_comm_device = 1;
  comm_forward = SLOTS;
  execution_space = lbpsi::kk::SPACE;
  datamask_read = datamask_modify = EMPTY_MASK;
}

void FixHaloKokkos::forward(const Rows &which)
{
  rows = which;
  const int width = static_cast<int>(rows.extent(1));
  on_host = false;
  for (begin = 0; begin < width; begin += SLOTS) {
    count = std::min(SLOTS, width - begin);
    comm->forward_comm(this, count);
  }
  if (on_host) Kokkos::deep_copy(rows, copy);
  rows = Rows();
  copy = {};
}

int FixHaloKokkos::pack_forward_comm_kokkos(int n, ForwardList list, ForwardBuffer buffer, int,
                                            int *)
{
  const auto source = rows;
  const auto atoms = list.template view<LMPDeviceType>();
  const auto packed = buffer.template view<LMPDeviceType>();
  const int first = begin, width = count;
  Kokkos::parallel_for(
      "lbpsi::pack_halo", Kokkos::RangePolicy<LMPDeviceType>(0, n * width),
      KOKKOS_LAMBDA(const int k) { packed(k) = source(atoms(k / width), first + k % width); });
  return n * width;
}

void FixHaloKokkos::unpack_forward_comm_kokkos(int n, int ghost, ForwardBuffer buffer)
{
  const auto target = rows;
  const auto packed = buffer.template view<LMPDeviceType>();
  const int first = begin, width = count;
  Kokkos::parallel_for(
      "lbpsi::unpack_halo", Kokkos::RangePolicy<LMPDeviceType>(0, n * width),
      KOKKOS_LAMBDA(const int k) { target(ghost + k / width, first + k % width) = packed(k); });
}

int FixHaloKokkos::pack_forward_comm_fix_kokkos(int n, ForwardList list, ForwardBuffer buffer,
                                                int flag, int *pbc)
{
  return pack_forward_comm_kokkos(n, list, buffer, flag, pbc);
}

void FixHaloKokkos::unpack_forward_comm_fix_kokkos(int n, int ghost, ForwardBuffer buffer)
{
  unpack_forward_comm_kokkos(n, ghost, buffer);
}

void FixHaloKokkos::need_copy()
{
  if (on_host) return;
  copy = Kokkos::create_mirror_view(rows);
  Kokkos::deep_copy(copy, rows);
  on_host = true;
}

int FixHaloKokkos::pack_forward_comm(int n, int *list, double *buffer, int, int *)
{
  need_copy();
  const auto from = copy;    // a member would be read anew for each number
  const int width = count, first = begin;
  for (int k = 0; k < n; ++k) {
    const double *row = &from(list[k], first);
    for (int column = 0; column < width; ++column) *buffer++ = row[column];
  }
  return n * width;
}

void FixHaloKokkos::unpack_forward_comm(int n, int ghost, double *buffer)
{
  need_copy();
  const auto to = copy;
  const int width = count, first = begin;
  for (int k = 0; k < n; ++k) {
    double *row = &to(ghost + k, first);
    for (int column = 0; column < width; ++column) row[column] = *buffer++;
  }
}
