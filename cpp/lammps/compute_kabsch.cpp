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
using lbpsi::Role;
using lbpsi::UnitReference;
using lbpsi::UnitRotation;
using lbpsi::UnitState;

namespace {

constexpr int DEFAULT_HOLD = 10;
constexpr double DEGREES = 57.29577951308232;
// Of two sums over the same configuration, added up in another order or from another restart file.
constexpr double ROUNDING = 1e-11;

// As many columns as fields: in a dump LAMMPS takes c_k[*] for the columns of the array.
enum Column { ANGLE, REDUCED, AXIS, RESIDUAL = AXIS + 3, STATE, N_COLUMNS };
enum Field { COUNT, MEAN, RMS, LARGEST, BROKEN, EXCHANGES, INVERTED, N_FIELDS };

Ligands ligands_of(const lbpsi::BondGraph &graph, int former)
{
  const auto &atoms = graph.atoms();
  Ligands ligands;
  for (auto bond = graph.first(former); bond != graph.last(former); ++bond) {
    const Role role = graph.chemistry().role(atoms.type[bond->j]);
    ligands.pyramid |= role == Role::former;
    if (role != Role::sulfur) continue;
    if (ligands.n < lbpsi::MOST_LIGANDS) {
      ligands.id[ligands.n] = atoms.id[bond->j];
      std::copy(bond->d, bond->d + 3, ligands.vector + 3 * ligands.n);
    }
    ++ligands.n;
  }
  return ligands;
}

// A number that any motion of the bonds changes.
double fingerprint(const lbpsi::BondGraph &graph)
{
  double sum = 0.0;
  for (auto bond = graph.first(0); bond != graph.first(graph.atoms().owned); ++bond) {
    const auto *d = bond->d;
    const auto weight = static_cast<double>(1 + graph.atoms().id[bond->j] % 13);
    sum += weight * (d[0] * d[0] + 2.0 * d[1] * d[1] + 3.0 * d[2] * d[2]);
  }
  return sum;
}

}    // namespace

ComputeKabsch::ComputeKabsch(LAMMPS *lmp, int narg, char **arg) :
    Compute(lmp, narg, arg), hold(DEFAULT_HOLD), nmax(0), evaluated(-1)
{
  peratom_flag = 1;
  size_peratom_cols = N_COLUMNS;
  array_flag = 1;
  size_array_rows = lbpsi::N_FORMER_CLASSES;
  size_array_cols = N_FIELDS;
  extarray = 0;
  parse(narg, arg);
  memory->create(array, size_array_rows, size_array_cols, "kabsch:array");
  std::fill(array[0], array[0] + size_array_rows * size_array_cols, 0.0);
  FixReferenceAtom::create(lmp, id, group->names[igroup], lbpsi::MOST_PACKED);
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
bool ComputeKabsch::counts(const lbpsi::BondGraph &graph, std::vector<double> &counted) const
{
  const double mine = fingerprint(graph);
  double now;
  MPI_Allreduce(&mine, &now, 1, MPI_DOUBLE, MPI_SUM, world);
  bool again = evaluated == update->ntimestep;
  if (!again && update->ntimestep == update->firststep && !counted.empty())
    again = std::fabs(now - counted[0]) <= ROUNDING * now;
  if (!again) counted.assign(1, now);
  return !again;
}

void ComputeKabsch::evaluate()
{
  auto *source = motif();
  auto *fix = FixReferenceAtom::find(lmp, id);
  source->update_peratom();
  const auto &graph = source->bonds();
  const bool count = counts(graph, fix->global);
  units.assign(atom->nlocal, Unit{});
  for (int i = 0; i < atom->nlocal; ++i) {
    const auto &found = source->motifs()[i];
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
  auto reference = UnitReference::unpack(row.data(), static_cast<int>(row.size()));
  if (!count) return reference.look(ligands);
  const auto rotation = reference.update(ligands, hold);
  row.clear();
  reference.pack(row);
  return rotation;
}

void ComputeKabsch::compute_array()
{
  invoked_array = update->ntimestep;
  if (!current()) evaluate();
  std::vector<double> sums(size_array_rows * N_FIELDS, 0.0), largest(size_array_rows, 0.0);
  for (const auto &unit : units) {
    if (!unit.cls) continue;
    double *row = &sums[(unit.cls - 1) * N_FIELDS];
    row[BROKEN] += unit.rotation.state == UnitState::broken;
    row[EXCHANGES] += unit.rotation.exchanges;
    row[INVERTED] += unit.rotation.state == UnitState::inverted;
    if (unit.rotation.state != UnitState::whole) continue;
    const double angle = DEGREES * unit.rotation.angle;
    row[COUNT] += 1.0;
    row[MEAN] += angle;
    row[RMS] += angle * angle;
    largest[unit.cls - 1] = std::max(largest[unit.cls - 1], angle);
  }
  MPI_Allreduce(sums.data(), array[0], static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, largest.data(), size_array_rows, MPI_DOUBLE, MPI_MAX, world);
  for (int cls = 0; cls < size_array_rows; ++cls) {
    const double n = std::max(array[cls][COUNT], 1.0);
    array[cls][MEAN] /= n;
    array[cls][RMS] = std::sqrt(array[cls][RMS] / n);
    array[cls][LARGEST] = largest[cls];
  }
}

void ComputeKabsch::compute_peratom()
{
  invoked_peratom = update->ntimestep;
  if (!current()) evaluate();
  if (atom->nmax > nmax) {
    nmax = atom->nmax;
    memory->destroy(array_atom);
    memory->create(array_atom, nmax, N_COLUMNS, "kabsch:array_atom");
  }
  for (int i = 0; i < static_cast<int>(units.size()); ++i) {
    const auto &unit = units[i].rotation;
    double *row = array_atom[i];
    row[ANGLE] = DEGREES * unit.angle;
    row[REDUCED] = DEGREES * unit.reduced;
    std::copy(unit.axis, unit.axis + 3, row + AXIS);
    row[RESIDUAL] = unit.residual;
    row[STATE] = static_cast<int>(unit.state);
  }
}

double ComputeKabsch::memory_usage()
{
  return static_cast<double>(units.capacity() * sizeof(Unit)) +
         static_cast<double>(nmax) * N_COLUMNS * sizeof(double) +
         static_cast<double>(size_array_rows) * N_FIELDS * sizeof(double);
}
