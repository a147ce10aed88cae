#include "compute_msd_motif_kokkos.h"

#include "compute_motif_kokkos.h"
#include "fix_reference_atom_kokkos.h"
#include "require_kokkos.h"

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "domain_kokkos.h"

#include <algorithm>

using namespace LAMMPS_NS;
using lbpsi::ClassDisplacements;
using lbpsi::kk::Matrix;
using lbpsi::kk::SPACE;
using lbpsi::kk::Vector;

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::compute_msd_motif {

// Of a row of fix reference/atom/kk, and back.
KOKKOS_INLINE_FUNCTION OriginRow read(const double *row)
{
  return OriginRow::unpack(row + 1, static_cast<int>(row[0]));
}

KOKKOS_INLINE_FUNCTION void write(const OriginRow &origin, double *row)
{
  row[0] = origin.pack(row + 1);
}

// A row of three.
KOKKOS_INLINE_FUNCTION lbpsi::Vector coordinate(const Matrix<double> &coordinates, int i)
{
  return {{coordinates(i, 0), coordinates(i, 1), coordinates(i, 2)}};
}

// As LAMMPS has it.
struct Box {
  Few<double, 3> lengths;
  Few<double, 6> h;
  int triclinic;
};

void place(const Positions &x, const Images &images, const Box &box, const lbpsi::Vector &corner,
           const lbpsi::Matrix &to_lattice, const Matrix<double> &coordinates, int n)
{
  Kokkos::parallel_for(
      "lbpsi::place", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        Few<double, 3> wrapped;
        for (int k = 0; k < 3; ++k) wrapped[k] = x(i, k);
        const auto where =
            LAMMPS_NS::DomainKokkos::unmap(box.lengths, box.h, box.triclinic, wrapped, images(i));
        const lbpsi::Vector found =
            lattice_coordinate({{where[0], where[1], where[2]}}, corner, to_lattice);
        for (int k = 0; k < 3; ++k) coordinates(i, k) = found[k];
      });
}

struct MassTerms : Sums {
  Types types;
  Masks masks;
  int bit;    // of the atoms that count; 0: all
  Vector<double> of_type;
  Masses of_atom;    // empty: those of types
  Matrix<double> coordinates;

  KOKKOS_INLINE_FUNCTION void operator()(int i, double *sums) const
  {
    if (bit && !(masks(i) & bit)) return;
    const double mass = of_atom.extent(0) ? static_cast<double>(of_atom(i)) : of_type(types(i));
    for (int k = 0; k < 3; ++k) sums[k] += mass * coordinates(i, k);
    sums[3] += mass;
  }
};

void subtract(const lbpsi::Vector &origin, const Matrix<double> &coordinates, int n)
{
  Kokkos::parallel_for(
      "lbpsi::subtract", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        const lbpsi::Vector from_origin = coordinate(coordinates, i) - origin;
        for (int k = 0; k < 3; ++k) coordinates(i, k) = from_origin[k];
      });
}

void start_rows(const Masks &masks, int bit, const Matrix<double> &coordinates,
                const Matrix<double> &rows, int n)
{
  Kokkos::parallel_for(
      "lbpsi::start_origins", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        if (!(masks(i) & bit)) return;
        OriginRow origin;
        origin.start(coordinate(coordinates, i));
        write(origin, &rows(i, 0));
      });
}

void classify_rows(const Masks &masks, int bit, const Vector<Motif> &motifs,
                   const Matrix<double> &rows, int n)
{
  Kokkos::parallel_for(
      "lbpsi::classify_origins", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        if (!(masks(i) & bit) || rows(i, 0) == 0.0) return;
        OriginRow origin = read(&rows(i, 0));
        origin.meet_class(table_class(motifs(i)));
        write(origin, &rows(i, 0));
      });
}

// What is the same for all atoms at an evaluation.
struct Evaluation {
  lbpsi::Matrix mean;
  bool renewed, is_next_origin;
};

// Columns of the atoms: class at the origin, displacement.
void advance(const Evaluation &now, const Masks &masks, int bit, const Vector<Motif> &motifs,
             const Matrix<double> &coordinates, const Matrix<double> &rows,
             const Matrix<double> &columns, int n)
{
  Kokkos::parallel_for(
      "lbpsi::advance", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        for (int k = 0; k < 4; ++k) columns(i, k) = 0.0;
        if (!(masks(i) & bit)) return;
        OriginRow origin = read(&rows(i, 0));
        const lbpsi::Vector here = coordinate(coordinates, i);
        origin.advance(here, table_class(motifs(i)), now.renewed, now.is_next_origin);
        write(origin, &rows(i, 0));
        const lbpsi::Vector moved = origin.displacement(here, now.mean);
        columns(i, 0) = origin.cls();
        for (int k = 0; k < 3; ++k) columns(i, 1 + k) = moved[k];
      });
}

struct DisplacementTerms : Sums {
  Masks masks;
  int bit;
  Matrix<double> rows, columns;

  KOKKOS_INLINE_FUNCTION void operator()(int i, double *sums) const
  {
    if (!(masks(i) & bit)) return;
    double terms[ClassDisplacements::N_COLUMNS];
    ClassDisplacements::terms({{columns(i, 1), columns(i, 2), columns(i, 3)}},
                              read(&rows(i, 0)).survives(), terms);
    double *row = sums + (static_cast<int>(columns(i, 0)) - 1) * ClassDisplacements::N_COLUMNS;
    for (int k = 0; k < ClassDisplacements::N_COLUMNS; ++k) row[k] += terms[k];
  }
};

}    // namespace lbpsi::kk::compute_msd_motif

namespace kernels = lbpsi::kk::compute_msd_motif;

ComputeMSDMotifKokkos::ComputeMSDMotifKokkos(LAMMPS *lmp, int narg, char **arg) :
    ComputeMSDMotif(lbpsi::kk::require_kokkos(lmp, arg), narg, arg, "reference/atom/kk")
{
  kokkosable = 1;
  execution_space = SPACE;
  datamask_read = datamask_modify = EMPTY_MASK;
  device_motif();
  start();
}

void ComputeMSDMotifKokkos::init()
{
  ComputeMSDMotif::init();
  device_motif();
}

ComputeMotifKokkos *ComputeMSDMotifKokkos::device_motif() const
{
  return ComputeMotifKokkos::find(lmp, who.c_str(), motif_id.c_str());
}

void ComputeMSDMotifKokkos::place(const Frame &now)
{
  lbpsi::kk::grow(device_coordinates, atom->nlocal, 3);
  atomKK->sync(SPACE, X_MASK | IMAGE_MASK);
  kernels::place(atomKK->k_x.template view<LMPDeviceType>(),
                 atomKK->k_image.template view<LMPDeviceType>(),
                 {Few<double, 3>(domain->prd), Few<double, 6>(domain->h), domain->triclinic},
                 now.corner, now.to_lattice, device_coordinates, atom->nlocal);
}

void ComputeMSDMotifKokkos::sum_masses(double *sums) const
{
  kernels::MassTerms terms;
  atomKK->sync(SPACE, TYPE_MASK | MASK_MASK | (atom->rmass ? RMASS_MASK : EMPTY_MASK));
  terms.types = atomKK->k_type.template view<LMPDeviceType>();
  terms.masks = atomKK->k_mask.template view<LMPDeviceType>();
  terms.bit = com == Com::group ? groupbit : 0;
  terms.coordinates = device_coordinates;
  if (atom->rmass)
    terms.of_atom = atomKK->k_rmass.template view<LMPDeviceType>();
  else
    lbpsi::kk::to_device(atom->mass, atom->ntypes + 1, terms.of_type);
  const auto mine = lbpsi::kk::sum_in_order("lbpsi::sum_masses", atom->nlocal, 4, terms);
  std::copy(mine.begin(), mine.end(), sums);
}

void ComputeMSDMotifKokkos::subtract(const lbpsi::Vector &origin)
{
  kernels::subtract(origin, device_coordinates, atom->nlocal);
}

void ComputeMSDMotifKokkos::start_rows()
{
  atomKK->sync(SPACE, MASK_MASK);
  kernels::start_rows(atomKK->k_mask.template view<LMPDeviceType>(), groupbit, device_coordinates,
                      FixReferenceAtomKokkos::find(lmp, id)->change(), atom->nlocal);
}

void ComputeMSDMotifKokkos::classify_rows()
{
  atomKK->sync(SPACE, MASK_MASK);
  kernels::classify_rows(atomKK->k_mask.template view<LMPDeviceType>(), groupbit,
                         device_motif()->device_motifs(),
                         FixReferenceAtomKokkos::find(lmp, id)->change(), atom->nlocal);
}

void ComputeMSDMotifKokkos::advance_rows(bool renewed)
{
  static_assert(CLASS_AT_ORIGIN == 0 && DX == 1 && N_COLUMNS == 4, "as the kernels have them");
  lbpsi::kk::grow(device_rows, atom->nlocal, N_COLUMNS);
  atomKK->sync(SPACE, MASK_MASK);
  kernels::advance({history.mean_cell(), renewed, history.is_next_origin()},
                   atomKK->k_mask.template view<LMPDeviceType>(), groupbit,
                   device_motif()->device_motifs(), device_coordinates,
                   FixReferenceAtomKokkos::find(lmp, id)->change(), device_rows, atom->nlocal);
}

void ComputeMSDMotifKokkos::sum_classes(ClassDisplacements &mine) const
{
  constexpr int ENTRIES = lbpsi::N_CLASSES * ClassDisplacements::N_COLUMNS;
  atomKK->sync(SPACE, MASK_MASK);
  kernels::DisplacementTerms terms;
  terms.masks = atomKK->k_mask.template view<LMPDeviceType>();
  terms.bit = groupbit;
  terms.rows = FixReferenceAtomKokkos::find(lmp, id)->read();
  terms.columns = device_rows;
  const auto sums =
      lbpsi::kk::sum_in_order("lbpsi::sum_displacements", atom->nlocal, ENTRIES, terms);
  std::copy(sums.begin(), sums.end(), mine.sums);
}

void ComputeMSDMotifKokkos::fill_rows()
{
  lbpsi::kk::copy_rows(device_rows, atom->nlocal, array_atom);
}

double ComputeMSDMotifKokkos::memory_usage()
{
  return ComputeMSDMotif::memory_usage() + lbpsi::kk::bytes(device_coordinates) +
         lbpsi::kk::bytes(device_rows);
}
