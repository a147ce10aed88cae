#include "compute_motif_kokkos.h"

#include "fix_halo_kokkos.h"
#include "require_kokkos.h"

#include "lbpsi/fingerprint.h"

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "error.h"
#include "neigh_list_kokkos.h"
#include "neigh_request.h"
#include "neighbor.h"

using namespace LAMMPS_NS;
using lbpsi::Motif;
using lbpsi::kk::Matrix;
using lbpsi::kk::Policy;
using lbpsi::kk::Positions;
using lbpsi::kk::SPACE;
using lbpsi::kk::Vector;

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::compute_motif {

std::uint64_t fingerprint(const Tags &tags, const Types &types, const Masks &masks, int bit,
                          const Positions &x, int n)
{
  std::uint64_t all = 0;
  Kokkos::parallel_reduce(
      "lbpsi::fingerprint", Policy(0, n),
      KOKKOS_LAMBDA(const int i, std::uint64_t &sum) {
        const double place[3] = {x(i, 0), x(i, 1), x(i, 2)};
        sum += atom_fingerprint(i, tags(i), types(i), masks(i) & bit, place);
      },
      all);
  return all;
}

// How many atoms have moved farther than the square root of most.
int count_moved(const Positions &x, const Matrix<double> &places, double most, int n)
{
  int moved = 0;
  Kokkos::parallel_reduce(
      "lbpsi::moved", Policy(0, n),
      KOKKOS_LAMBDA(const int i, int &sum) {
        double square = 0.0;
        for (int k = 0; k < 3; ++k) {
          const double d = x(i, k) - places(i, k);
          square += d * d;
        }
        sum += square > most;
      },
      moved);
  return moved;
}

void keep_places(const Positions &x, const Matrix<double> &places, int n)
{
  Kokkos::parallel_for(
      "lbpsi::places", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        for (int k = 0; k < 3; ++k) places(i, k) = x(i, k);
      });
}

void number(const ChemistryTable &table, const Tags &tags, const Types &types, const Masks &masks,
            int bit, const Vector<int> &type, const Vector<std::int64_t> &id, int n)
{
  Kokkos::parallel_for(
      "lbpsi::number", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        type(i) = type_if_seen(table, types(i) - 1, masks(i) & bit);
        id(i) = tags(i);
      });
}

void find_twins(LAMMPS_NS::AtomKokkos *atom, const Vector<int> &twin, int owned, int total)
{
  const int style = atom->map_style;
  if (style == LAMMPS_NS::Atom::MAP_ARRAY) atom->k_map_array.template sync<LMPDeviceType>();
  if (style == LAMMPS_NS::Atom::MAP_HASH) atom->k_map_hash.template sync<LMPDeviceType>();
  const auto array = atom->k_map_array;
  const auto hash = atom->k_map_hash;
  const Tags tags = atom->k_tag.template view<LMPDeviceType>();
  Kokkos::parallel_for(
      "lbpsi::twins", Policy(0, total), KOKKOS_LAMBDA(const int i) {
        int owner = -1;
        if (i >= owned)
          owner = LAMMPS_NS::AtomKokkos::map_kokkos<LMPDeviceType>(tags(i), style, array, hash);
        twin(i) = owner >= 0 && owner < owned ? owner : i;
      });
}

void count_formers(const Vector<Motif> &motifs, const Vector<int> &counts, int n)
{
  Kokkos::parallel_for(
      "lbpsi::count_formers", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        if (motifs(i).unit) Kokkos::atomic_inc(&counts(motifs(i).cls - 1));
      });
}

void columns(const Vector<Motif> &motifs, const Matrix<double> &rows, int n)
{
  Kokkos::parallel_for(
      "lbpsi::motif_columns", Policy(0, n),
      KOKKOS_LAMBDA(const int i) { motifs(i).columns(&rows(i, 0)); });
}

}    // namespace lbpsi::kk::compute_motif

namespace kernels = lbpsi::kk::compute_motif;

ComputeMotifKokkos::ComputeMotifKokkos(LAMMPS *lmp, int narg, char **arg) :
    ComputeMotif(lbpsi::kk::require_kokkos(lmp, arg), narg, arg), placed(0), has_graph(false),
    has_motifs(false)
{
  kokkosable = 1;
  execution_space = SPACE;
  datamask_read = datamask_modify = EMPTY_MASK;
  device_chemistry.copy(chemistry->view());
  FixHaloKokkos::create(lmp, id);
}

ComputeMotifKokkos::~ComputeMotifKokkos()
{
  if (copymode) return;
  FixHaloKokkos::destroy(lmp, id);
}

ComputeMotifKokkos *ComputeMotifKokkos::find(LAMMPS *lmp, const char *user, const char *id)
{
  auto *motif = dynamic_cast<ComputeMotifKokkos *>(ComputeMotif::find(lmp, user, id));
  if (!motif)
    lmp->error->all(FLERR, "{}: compute {} has its motifs on the host; expected a compute motif/kk",
                    user, id);
  return motif;
}

void ComputeMotifKokkos::init()
{
  ComputeMotif::init();
  auto *request = neighbor->find_request(this);
  request->set_kokkos_host(false);
  request->set_kokkos_device(true);
  FixHaloKokkos::find(lmp, id);
}

std::uint64_t ComputeMotifKokkos::atoms_fingerprint() const
{
  atomKK->sync(SPACE, X_MASK | TYPE_MASK | MASK_MASK | TAG_MASK);
  return kernels::fingerprint(atomKK->k_tag.template view<LMPDeviceType>(),
                              atomKK->k_type.template view<LMPDeviceType>(),
                              atomKK->k_mask.template view<LMPDeviceType>(), groupbit,
                              atomKK->k_x.template view<LMPDeviceType>(), atom->nlocal);
}

bool ComputeMotifKokkos::list_holds() const
{
  const int nall = atom->nlocal + atom->nghost;
  if (listed != neighbor->lastcall || placed != nall) return false;
  atomKK->sync(SPACE, X_MASK);
  const double most = 0.25 * neighbor->skin * neighbor->skin;
  return kernels::count_moved(atomKK->k_x.template view<LMPDeviceType>(), device_places, most,
                              nall) == 0;
}

void ComputeMotifKokkos::build_list()
{
  renew_list();
  placed = atom->nlocal + atom->nghost;
  lbpsi::kk::grow(device_places, placed, 3);
  atomKK->sync(SPACE, X_MASK);
  kernels::keep_places(atomKK->k_x.template view<LMPDeviceType>(), device_places, placed);
}

void ComputeMotifKokkos::number_atoms()
{
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  lbpsi::kk::grow(device_type, nall);
  lbpsi::kk::grow(device_id, nall);
  lbpsi::kk::grow(device_twin, nall);
  atomKK->sync(SPACE, TYPE_MASK | MASK_MASK | TAG_MASK);
  kernels::number(device_chemistry.view(), atomKK->k_tag.template view<LMPDeviceType>(),
                  atomKK->k_type.template view<LMPDeviceType>(),
                  atomKK->k_mask.template view<LMPDeviceType>(), groupbit, device_type, device_id,
                  nall);
  kernels::find_twins(atomKK, device_twin, nlocal, nall);
}

void ComputeMotifKokkos::find_bonds()
{
  has_graph = has_motifs = false;
  atomKK->sync(SPACE, X_MASK);
  const auto *found = static_cast<NeighListKokkos<LMPDeviceType> *>(list);
  device_graph.find(
      device_chemistry.view(),
      {atom->nlocal, atom->nlocal + atom->nghost, device_type.data(), device_id.data()},
      {found->inum, found->d_ilist, found->d_numneigh, found->d_neighbors},
      atomKK->k_x.template view<LMPDeviceType>());
}

void ComputeMotifKokkos::find_motifs()
{
  device_analysis.run(device_graph.view(), device_twin, *this);
}

lbpsi::GraphView ComputeMotifKokkos::bonds()
{
  if (!has_graph) device_graph.copy_to(host_graph, device_type, device_id);
  has_graph = true;
  return host_graph.view(chemistry->view(), device_graph.view().atoms.owned);
}

const std::vector<Motif> &ComputeMotifKokkos::motifs()
{
  if (!has_motifs)
    host_motifs = lbpsi::kk::to_host(device_motifs(), device_graph.view().atoms.owned);
  has_motifs = true;
  return host_motifs;
}

void ComputeMotifKokkos::count_formers(double *of_class) const
{
  const Vector<int> counts("motif:counts", lbpsi::N_FORMER_CLASSES);
  kernels::count_formers(device_motifs(), counts, device_graph.view().atoms.owned);
  const auto found = lbpsi::kk::to_host(counts, lbpsi::N_FORMER_CLASSES);
  for (int cls = 0; cls < lbpsi::N_FORMER_CLASSES; ++cls) of_class[cls] = found[cls];
}

void ComputeMotifKokkos::fill_rows()
{
  Matrix<double> rows;
  lbpsi::kk::grow(rows, atom->nlocal, Motif::N_COLUMNS);
  kernels::columns(device_motifs(), rows, atom->nlocal);
  lbpsi::kk::copy_rows(rows, atom->nlocal, array_atom);
}

void ComputeMotifKokkos::to_ghosts(const Matrix<double> &rows)
{
  FixHaloKokkos::find(lmp, id)->forward(rows);
}

int ComputeMotifKokkos::largest(int mine) { return ComputeMotif::largest(mine); }

void ComputeMotifKokkos::total(std::vector<lbpsi::Tally> &mine) { ComputeMotif::total(mine); }

double ComputeMotifKokkos::memory_usage()
{
  using lbpsi::kk::bytes;
  return ComputeMotif::memory_usage() + device_graph.memory() + device_analysis.memory() +
         bytes(device_places) + bytes(device_type) + bytes(device_twin) + bytes(device_id) +
         host_graph.memory() + static_cast<double>(host_motifs.capacity() * sizeof(Motif));
}
