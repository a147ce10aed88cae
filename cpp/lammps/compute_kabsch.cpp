#include "compute_kabsch.h"

#include "compute_motif.h"
#include "fix_reference_atom.h"

#include "atom.h"
#include "error.h"
#include "group.h"
#include "memory.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

using namespace LAMMPS_NS;
using lbpsi::Ligands;
using lbpsi::UnitReference;
using lbpsi::UnitRotation;

namespace {

constexpr int DEFAULT_HOLD = 10;
// Of two sums over the same configuration, added up in another order or from another restart file.
constexpr double ROUNDING = 1e-11;

// In a dump LAMMPS takes c_k[*] for the columns of the array.
static_assert(int(UnitRotation::N_COLUMNS) == int(UnitRotation::N_FIELDS));

double fingerprint_of(const lbpsi::GraphView &graph)
{
  double sum = 0.0;
  for (auto bond = graph.first(0); bond != graph.first(graph.atoms.owned); ++bond)
    sum += fingerprint(graph.atoms, *bond);
  return sum;
}

}    // namespace

ComputeKabsch::ComputeKabsch(LAMMPS *lmp, int narg, char **arg, const char *state) :
    Compute(lmp, narg, arg), hold(DEFAULT_HOLD), nmax(0), evaluated(-1)
{
  peratom_flag = 1;
  size_peratom_cols = UnitRotation::N_COLUMNS;
  array_flag = 1;
  size_array_rows = lbpsi::N_FORMER_CLASSES;
  size_array_cols = UnitRotation::N_FIELDS;
  extarray = 0;
  parse(narg, arg);
  memory->create(array, size_array_rows, size_array_cols, "kabsch:array");
  std::fill(array[0], array[0] + size_array_rows * size_array_cols, 0.0);
  FixReferenceAtom::create(lmp, id, group->names[igroup], lbpsi::MOST_PACKED, state);
}

ComputeKabsch::~ComputeKabsch()
{
  if (copymode) return;
  FixReferenceAtom::destroy(lmp, id);
  memory->destroy(array);
  memory->destroy(array_atom);
}

void ComputeKabsch::parse(int narg, char **arg)
{
  if (narg < 4)
    error->all(FLERR, "compute {} kabsch: nothing where the ID of a compute motif was expected",
               id);
  motif_id = arg[3];
  motif();
  for (int iarg = 4; iarg < narg; iarg += 2) {
    if (std::string(arg[iarg]) != "hold")
      error->all(FLERR,
                 "compute {} kabsch: unknown keyword {}; use hold after the ID of a compute "
                 "motif",
                 id, arg[iarg]);
    if (iarg + 1 == narg)
      error->all(FLERR, "compute {} kabsch: hold needs a number, as in hold {}", id, DEFAULT_HOLD);
    hold = utils::inumeric(FLERR, arg[iarg + 1], false, lmp);
  }
  if (hold < 1)
    error->all(FLERR, "compute {} kabsch: hold {} must be at least 1 evaluation", id, hold);
}

void ComputeKabsch::init()
{
  evaluated = -1;
  if (group->dynamic[igroup])
    error->all(FLERR, "compute {} kabsch: group {} is dynamic; use a static group", id,
               group->names[igroup]);
  motif()->require_formers(std::string("compute ") + id + " kabsch", igroup);
  FixReferenceAtom::find(lmp, id);
}

// The reference is the first configuration that is run; a fix that a restart file filled has one.
void ComputeKabsch::setup()
{
  if (FixReferenceAtom::find(lmp, id)->global.empty()) evaluate();
}

bool ComputeKabsch::current() const
{
  return (invoked_flag & (INVOKED_ARRAY | INVOKED_PERATOM)) && evaluated == update->ntimestep;
}

ComputeMotif *ComputeKabsch::motif() const
{
  return ComputeMotif::find(lmp, (std::string("compute ") + id + " kabsch").c_str(),
                            motif_id.c_str());
}

// Each step counts once, however many read it. The first of a run may be the last of the run
// before, under the number that reset_timestep gave it, or in the process that wrote the restart
// file.
bool ComputeKabsch::counts(double mine, std::vector<double> &kept) const
{
  double now;
  MPI_Allreduce(&mine, &now, 1, MPI_DOUBLE, MPI_SUM, world);
  bool again = evaluated == update->ntimestep;
  if (!again && update->ntimestep == update->firststep && !kept.empty())
    again = std::fabs(now - kept[0]) <= ROUNDING * now;
  if (!again) kept.assign(1, now);
  return !again;
}

void ComputeKabsch::evaluate()
{
  auto *source = motif();
  auto *fix = FixReferenceAtom::find(lmp, id);
  source->refresh();
  const auto graph = source->bonds();
  const auto &motifs = source->motifs();
  const bool count = counts(fingerprint_of(graph), fix->global);
  units.assign(atom->nlocal, Unit{});
  for (int i = 0; i < atom->nlocal; ++i) {
    const auto &found = motifs[i];
    if (!(atom->mask[i] & groupbit) || !found.unit) continue;
    units[i].cls = found.cls;
    try {
      units[i].rotation = rotate(ligands_of(graph, i), fix->rows[i], count);
    } catch (const std::invalid_argument &problem) {
      error->one(FLERR, "compute {} kabsch: {}", id, problem.what());
    }
  }
  evaluated = update->ntimestep;
}

UnitRotation ComputeKabsch::rotate(const Ligands &ligands, std::vector<double> &row,
                                   bool count) const
{
  auto reference = lbpsi::unpack_unit(row.data(), static_cast<int>(row.size()));
  if (!count) return reference.look(ligands);
  const auto rotation = reference.update(ligands, hold);
  double numbers[lbpsi::MOST_PACKED];
  row.assign(numbers, numbers + reference.pack(numbers));
  return rotation;
}

void ComputeKabsch::compute_array()
{
  invoked_array = update->ntimestep;
  if (!current()) evaluate();
  using Field = UnitRotation;
  std::vector<double> sums(size_array_rows * Field::N_FIELDS, 0.0), largest(size_array_rows, 0.0);
  sum_units(sums.data(), largest.data());
  MPI_Allreduce(sums.data(), array[0], static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, largest.data(), size_array_rows, MPI_DOUBLE, MPI_MAX, world);
  for (int cls = 0; cls < size_array_rows; ++cls) {
    const double n = std::max(array[cls][Field::COUNT], 1.0);
    array[cls][Field::MEAN] /= n;
    array[cls][Field::RMS] = std::sqrt(array[cls][Field::RMS] / n);
    array[cls][Field::LARGEST] = largest[cls];
  }
}

void ComputeKabsch::sum_units(double *sums, double *largest) const
{
  using Field = UnitRotation;
  for (const auto &unit : units) {
    if (!unit.cls) continue;
    double *row = &sums[(unit.cls - 1) * Field::N_FIELDS];
    double terms[Field::N_FIELDS];
    unit.rotation.terms(terms);
    for (int k = 0; k < Field::N_FIELDS; ++k) row[k] += terms[k];
    largest[unit.cls - 1] = std::max(largest[unit.cls - 1], terms[Field::LARGEST]);
  }
}

void ComputeKabsch::compute_peratom()
{
  invoked_peratom = update->ntimestep;
  if (!current()) evaluate();
  if (atom->nmax > nmax) {
    nmax = atom->nmax;
    memory->destroy(array_atom);
    memory->create(array_atom, nmax, UnitRotation::N_COLUMNS, "kabsch:array_atom");
  }
  fill_rows();
}

void ComputeKabsch::fill_rows()
{
  for (int i = 0; i < static_cast<int>(units.size()); ++i) units[i].rotation.columns(array_atom[i]);
}

double ComputeKabsch::memory_usage()
{
  return static_cast<double>(units.capacity() * sizeof(Unit)) +
         static_cast<double>(nmax * UnitRotation::N_COLUMNS * sizeof(double)) +
         static_cast<double>(size_array_rows * UnitRotation::N_FIELDS * sizeof(double));
}
