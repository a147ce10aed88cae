#include "compute_kabsch_kokkos.h"

#include "compute_motif_kokkos.h"
#include "fix_reference_atom_kokkos.h"
#include "require_kokkos.h"

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "error.h"
#include "update.h"

#include <algorithm>
#include <stdexcept>

using namespace LAMMPS_NS;
using lbpsi::UnitRotation;
using lbpsi::kk::Masks;
using lbpsi::kk::Matrix;
using lbpsi::kk::SPACE;
using lbpsi::kk::Vector;

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::compute_kabsch {

struct FingerprintTerms : Sums {
  GraphView graph;

  explicit FingerprintTerms(const GraphView &all) : graph(all) {}

  KOKKOS_INLINE_FUNCTION void operator()(int i, double *sum) const
  {
    double own = 0.0;
    for (const Bond *bond = graph.first(i); bond != graph.last(i); ++bond)
      own += fingerprint(graph.atoms, *bond);
    *sum += own;
  }
};

// Rows of UnitRotation::Field, one a class.
struct UnitTerms {
  Vector<int> classes;
  Vector<UnitRotation> rotations;

  KOKKOS_INLINE_FUNCTION double join(int column, double a, double b) const
  {
    if (column % UnitRotation::N_FIELDS != UnitRotation::LARGEST) return a + b;
    return a < b ? b : a;
  }

  KOKKOS_INLINE_FUNCTION void operator()(int i, double *sums) const
  {
    if (!classes(i)) return;
    double terms[UnitRotation::N_FIELDS];
    rotations(i).terms(terms);
    double *row = sums + (classes(i) - 1) * UnitRotation::N_FIELDS;
    for (int k = 0; k < UnitRotation::N_FIELDS; ++k) row[k] = join(k, row[k], terms[k]);
  }
};

// A processor does not foresee which rows come: those of formers lie far apart. A line of its cache
// has eight numbers.
KOKKOS_INLINE_FUNCTION void fetch_ahead(const Matrix<double> &rows, const Vector<Motif> &motifs,
                                        int i, int owned)
{
  const int next = i + 16;
  if (next >= owned || !motifs(next).unit) return;
  KOKKOS_IF_ON_HOST((for (int k = 0; k < MOST_PACKED; k += 8) __builtin_prefetch(&rows(next, k));))
}

// Returns 1 + the index of an atom whose row is not what a unit was packed into, 0: there is none.
int turn(const GraphView &graph, const Vector<Motif> &motifs, const Masks &masks, int bit,
         const Matrix<double> &rows, int hold, bool count, const Vector<int> &classes,
         const Vector<UnitRotation> &rotations)
{
  int unsound = 0;
  Kokkos::parallel_reduce(
      "lbpsi::turn", Policy(0, graph.atoms.owned),
      KOKKOS_LAMBDA(const int i, int &worst) {
        fetch_ahead(rows, motifs, i, graph.atoms.owned);
        classes(i) = (masks(i) & bit) && motifs(i).unit ? motifs(i).cls : 0;
        if (!classes(i)) return;
        double *const row = &rows(i, 0);
        UnitReference reference;
        const bool sound =
            reference.unpack(row + 1, static_cast<int>(row[0])) == UnitReference::SOUND;
        if (!sound && worst < i + 1) worst = i + 1;
        const Ligands ligands = ligands_of(graph, i);
        rotations(i) = count ? reference.update(ligands, hold) : reference.look(ligands);
        if (count && sound) row[0] = reference.pack(row + 1);
      },
      Kokkos::Max<int>(unsound));
  return unsound;
}

void columns(const Vector<int> &classes, const Vector<UnitRotation> &rotations,
             const Matrix<double> &rows, int n)
{
  Kokkos::parallel_for(
      "lbpsi::kabsch_columns", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        const UnitRotation none;
        (classes(i) ? rotations(i) : none).columns(&rows(i, 0));
      });
}

}    // namespace lbpsi::kk::compute_kabsch

namespace kernels = lbpsi::kk::compute_kabsch;

ComputeKabschKokkos::ComputeKabschKokkos(LAMMPS *lmp, int narg, char **arg) :
    ComputeKabsch(lbpsi::kk::require_kokkos(lmp, arg), narg, arg, "reference/atom/kk"),
    evaluated_atoms(0)
{
  kokkosable = 1;
  execution_space = SPACE;
  datamask_read = datamask_modify = EMPTY_MASK;
  device_motif();
}

void ComputeKabschKokkos::init()
{
  ComputeKabsch::init();
  device_motif();
}

ComputeMotifKokkos *ComputeKabschKokkos::device_motif() const
{
  return ComputeMotifKokkos::find(lmp, (std::string("compute ") + id + " kabsch").c_str(),
                                  motif_id.c_str());
}

void ComputeKabschKokkos::evaluate()
{
  auto *source = device_motif();
  auto *fix = FixReferenceAtomKokkos::find(lmp, id);
  source->refresh();
  const auto graph = source->device_bonds();
  evaluated_atoms = graph.atoms.owned;
  const auto mine = lbpsi::kk::sum_in_order("lbpsi::bond_fingerprint", evaluated_atoms, 1,
                                            kernels::FingerprintTerms(graph));
  const bool count = counts(mine[0], fix->global);
  atomKK->sync(SPACE, MASK_MASK);
  const auto rows = count ? fix->change() : fix->read();
  lbpsi::kk::grow(device_classes, evaluated_atoms);
  lbpsi::kk::grow(device_rotations, evaluated_atoms);
  require_sound(kernels::turn(graph, source->device_motifs(),
                              atomKK->k_mask.template view<LMPDeviceType>(), groupbit, rows, hold,
                              count, device_classes, device_rotations),
                rows);
  evaluated = update->ntimestep;
}

// unsound: as turn() returns it.
void ComputeKabschKokkos::require_sound(int unsound, const Matrix<double> &rows) const
{
  if (unsound <= 0) return;
  const Vector<double> row = Kokkos::subview(rows, unsound - 1, Kokkos::ALL);
  const auto numbers = lbpsi::kk::to_host(row, static_cast<int>(row.extent(0)));
  try {
    lbpsi::unpack_unit(numbers.data() + 1, static_cast<int>(numbers[0]));
  } catch (const std::invalid_argument &problem) {
    error->one(FLERR, "compute {} kabsch: {}", id, problem.what());
  }
}

void ComputeKabschKokkos::sum_units(double *sums, double *largest) const
{
  const int fields = size_array_rows * UnitRotation::N_FIELDS;
  const auto mine = lbpsi::kk::sum_in_order("lbpsi::sum_units", evaluated_atoms, fields,
                                            kernels::UnitTerms{device_classes, device_rotations});
  std::copy(mine.begin(), mine.end(), sums);
  for (int cls = 0; cls < size_array_rows; ++cls)
    largest[cls] = mine[cls * UnitRotation::N_FIELDS + UnitRotation::LARGEST];
}

void ComputeKabschKokkos::fill_rows()
{
  Matrix<double> rows;
  lbpsi::kk::grow(rows, evaluated_atoms, UnitRotation::N_COLUMNS);
  kernels::columns(device_classes, device_rotations, rows, evaluated_atoms);
  lbpsi::kk::copy_rows(rows, evaluated_atoms, array_atom);
}

double ComputeKabschKokkos::memory_usage()
{
  return ComputeKabsch::memory_usage() + lbpsi::kk::bytes(device_classes) +
         lbpsi::kk::bytes(device_rotations);
}
