#include "fix_reference_atom_kokkos.h"

#include "atom.h"
#include "error.h"

#include <algorithm>
#include <string>

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::reference {

// Rows to a message; a row that leaves a gap behind is filled from the end of the atoms.
template <class Space, class Rows, class Buffer, class List>
void pack(const Rows &rows, Buffer *buffer, const List &leaving, const List &fillers, int n)
{
  const int width = static_cast<int>(rows.extent(1));
  Kokkos::parallel_for(
      "lbpsi::pack_reference", Kokkos::RangePolicy<typename Space::execution_space>(0, n),
      KOKKOS_LAMBDA(const int k) {
        const int i = leaving(k), filler = fillers(k);
        for (int column = 0; column < width; ++column) {
          buffer[k * width + column] = rows(i, column);
          if (filler >= 0) rows(i, column) = rows(filler, column);
        }
      });
}

// Atoms of the second neighbor begin at another place of the message.
template <class Space, class Rows, class Buffer, class Indices>
void unpack(const Rows &rows, const Buffer *buffer, const Indices &atoms, int n, int of_first,
            int second)
{
  const int width = static_cast<int>(rows.extent(1));
  Kokkos::parallel_for(
      "lbpsi::unpack_reference", Kokkos::RangePolicy<typename Space::execution_space>(0, n),
      KOKKOS_LAMBDA(const int k) {
        const int i = atoms(k);
        if (i < 0) return;    // it is not for this rank
        const int from = k < of_first ? k * width : second + (k - of_first) * width;
        for (int column = 0; column < width; ++column) rows(i, column) = buffer[from + column];
      });
}

}    // namespace lbpsi::kk::reference

using namespace LAMMPS_NS;
using lbpsi::kk::ExchangeBuffer;
using lbpsi::kk::ExchangeIndices;
using lbpsi::kk::ExchangeList;
using lbpsi::kk::reference::pack;
using lbpsi::kk::reference::unpack;

FixReferenceAtomKokkos *FixReferenceAtomKokkos::create(LAMMPS *lmp, const char *compute,
                                                       const char *group, int most)
{
  return dynamic_cast<FixReferenceAtomKokkos *>(
      FixReferenceAtom::create(lmp, compute, group, most, "reference/atom/kk"));
}

FixReferenceAtomKokkos *FixReferenceAtomKokkos::find(LAMMPS *lmp, const char *compute)
{
  return dynamic_cast<FixReferenceAtomKokkos *>(FixReferenceAtom::find(lmp, compute));
}

FixReferenceAtomKokkos::FixReferenceAtomKokkos(LAMMPS *lmp, int narg, char **arg) :
    FixReferenceAtom(lmp, narg, arg), width(maxexchange)
{
  kokkosable = 1;
  exchange_comm_device = sort_device = 1;
  execution_space = lbpsi::kk::SPACE;
  datamask_read = datamask_modify = EMPTY_MASK;
  rows = {};    // of the plain fix
  state = lbpsi::kk::DualMatrix<double>(std::string(id) + ":rows", atom->nmax, width);
}

// By this name LAMMPS finds the rows in a restart file, whichever of the two fixes wrote them.
void FixReferenceAtomKokkos::post_constructor()
{
  delete[] style;
  style = utils::strdup("reference/atom");
}

FixReferenceAtomKokkos::Rows FixReferenceAtomKokkos::read()
{
  state.sync_device();
  return state.view_device();
}

FixReferenceAtomKokkos::Rows FixReferenceAtomKokkos::change()
{
  state.sync_device();
  state.modify_device();
  return state.view_device();
}

double *FixReferenceAtomKokkos::host_row(int i)
{
  state.sync_host();
  return &state.view_host()(i, 0);
}

double *FixReferenceAtomKokkos::changed_row(int i)
{
  double *row = host_row(i);
  state.modify_host();
  return row;
}

void FixReferenceAtomKokkos::grow_arrays(int nmax) { state.resize(nmax, width); }

void FixReferenceAtomKokkos::copy_arrays(int from, int to, int)
{
  const double *row = host_row(from);
  std::copy(row, row + width, changed_row(to));
}

void FixReferenceAtomKokkos::set_arrays(int i) { changed_row(i)[0] = 0.0; }

int FixReferenceAtomKokkos::pack_exchange(int i, double *buffer)
{
  const double *row = host_row(i);
  std::copy(row, row + width, buffer);
  return width;
}

int FixReferenceAtomKokkos::unpack_exchange(int i, double *buffer)
{
  std::copy(buffer, buffer + width, changed_row(i));
  return width;
}

int FixReferenceAtomKokkos::pack_restart(int i, double *buffer)
{
  const double *row = host_row(i);
  buffer[0] = size_restart(i);
  std::copy(row + 1, row + size_restart(i), buffer + 1);
  return size_restart(i);
}

void FixReferenceAtomKokkos::unpack_restart(int i, int nth)
{
  const double *extra = atom->extra[i];
  for (int k = 0; k < nth; ++k) extra += static_cast<int>(*extra);
  const int size = static_cast<int>(*extra);
  if (size > width)
    error->one(FLERR, "fix {}: a row of {} numbers in the restart file; expected at most {}", id,
               size - 1, width - 1);
  double *row = changed_row(i);
  row[0] = size - 1;
  std::copy(extra + 1, extra + size, row + 1);
}

int FixReferenceAtomKokkos::size_restart(int i) { return 1 + numbers(i); }

double FixReferenceAtomKokkos::memory_usage()
{
  return static_cast<double>(state.view_device().span() * sizeof(double));
}

int FixReferenceAtomKokkos::pack_exchange_kokkos(const int &n, ExchangeBuffer buffer,
                                                 ExchangeList leaving, ExchangeList fillers,
                                                 ExecutionSpace space)
{
  if (space == lbpsi::kk::SPACE) {
    state.sync_device();
    pack<LMPDeviceType>(state.view_device(), buffer.template view<LMPDeviceType>().data(),
                        leaving.template view<LMPDeviceType>(),
                        fillers.template view<LMPDeviceType>(), n);
    state.modify_device();
  } else {
    state.sync_host();
    pack<LMPHostType>(state.view_host(), buffer.template view<LMPHostType>().data(),
                      leaving.template view<LMPHostType>(), fillers.template view<LMPHostType>(),
                      n);
    state.modify_host();
  }
  return n * width;
}

void FixReferenceAtomKokkos::unpack_exchange_kokkos(ExchangeBuffer buffer, ExchangeIndices atoms,
                                                    int n, int of_first, int second,
                                                    ExecutionSpace space)
{
  if (space == lbpsi::kk::SPACE) {
    state.sync_device();
    unpack<LMPDeviceType>(state.view_device(), buffer.template view<LMPDeviceType>().data(),
                          atoms.template view<LMPDeviceType>(), n, of_first, second);
    state.modify_device();
  } else {
    state.sync_host();
    unpack<LMPHostType>(state.view_host(), buffer.template view<LMPHostType>().data(),
                        atoms.template view<LMPHostType>(), n, of_first, second);
    state.modify_host();
  }
}

void FixReferenceAtomKokkos::sort_kokkos(Kokkos::BinSort<KeyViewType, BinOp> &sorter)
{
  state.sync_device();
  sorter.sort(LMPDeviceType(), state.view_device());
  state.modify_device();
}
