#include "compute_msd_motif.h"

#include "compute_motif.h"
#include "fix_reference_atom.h"

#include "atom.h"
#include "domain.h"
#include "error.h"
#include "group.h"
#include "memory.h"
#include "update.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

using namespace LAMMPS_NS;
using lbpsi::operator*;
using lbpsi::operator-;
using lbpsi::ClassDisplacements;
using lbpsi::inverse;
using lbpsi::Matrix;
using lbpsi::Vector;

namespace {

enum Column { CLASS_AT_ORIGIN, DX, DY, DZ, N_COLUMNS };

// Row of an atom: its origin, and from NEXT on the one that the evaluation after this step counts
// from. A class of 0 is not known yet.
enum RowEntry { X, Y, Z, CLASS, SURVIVES, NEXT, NEXT_CLASS = NEXT + 3, LONGEST };

// Head of the state that all ranks share; the history follows.
enum StateEntry { UNWRAP, COM, GROUP, CLASSIFIED, HISTORY };

constexpr const char *COM_NAMES[] = {"all", "group", "none"};
constexpr const char *UNWRAP_NAMES[] = {"fractional", "image"};

// Every atom has a row of the table.
int class_of(const lbpsi::Motif &motif)
{
  return motif.cls ? motif.cls : static_cast<int>(lbpsi::MotifClass::none);
}

template <int N> int find_name(const char *const (&names)[N], const char *name)
{
  for (int k = 0; k < N; ++k)
    if (strcmp(names[k], name) == 0) return k;
  return -1;
}

void meet_class(std::vector<double> &row, int cls)
{
  if (row[CLASS] == 0.0) {
    row[CLASS] = cls;
    row[SURVIVES] = 1.0;
  } else if (row[CLASS] != cls)
    row[SURVIVES] = 0.0;
}

// The row of an atom at an evaluation, which is the first from a new origin, or the next origin.
void advance(std::vector<double> &row, const Vector &coordinate, int cls, bool renewed,
             bool next_origin)
{
  if (row.empty()) {
    row.assign(coordinate.begin(), coordinate.end());
    row.resize(NEXT, 0.0);
  } else if (renewed && row.size() == LONGEST) {
    std::copy(row.begin() + NEXT, row.end(), row.begin());
    row[SURVIVES] = 1.0;
  }
  row.resize(NEXT);
  meet_class(row, cls);
  if (!next_origin) return;
  row.insert(row.end(), coordinate.begin(), coordinate.end());
  row.push_back(cls);
}

}    // namespace

ComputeMSDMotif::ComputeMSDMotif(LAMMPS *lmp, int narg, char **arg) :
    Compute(lmp, narg, arg), com(Com::all), unwrap(Unwrap::fractional), renew(0), classified(false),
    nmax(0)
{
  array_flag = 1;
  size_array_rows = lbpsi::N_CLASSES;
  size_array_cols = ClassDisplacements::N_COLUMNS;
  extarray = 0;
  peratom_flag = 1;
  size_peratom_cols = N_COLUMNS;
  dynamic_group_allow = 0;
  who = fmt::format("compute {} msd/motif", id);
  parse(narg, arg);
  memory->create(array, size_array_rows, size_array_cols, "msd/motif:array");

  auto *reference = FixReferenceAtom::create(lmp, id, group->names[igroup], LONGEST);
  if (reference->restart_reset) {
    resume(reference->global);
    return;
  }
  if (com != Com::none) atom->check_mass(FLERR);
  history.start(update->ntimestep, cell());
  find_coordinates();
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!member(i)) continue;
    reference->rows[i].assign(coordinates[i].begin(), coordinates[i].end());
    reference->rows[i].resize(NEXT, 0.0);
  }
  keep(reference->global);
}

ComputeMSDMotif::~ComputeMSDMotif()
{
  if (copymode) return;
  FixReferenceAtom::destroy(lmp, id);
  memory->destroy(array);
  memory->destroy(array_atom);
}

void ComputeMSDMotif::parse(int narg, char **arg)
{
  if (narg < 4) error->all(FLERR, "{}: the ID of a compute motif was expected", who);
  motif_id = arg[3];
  ComputeMotif::find(lmp, who.c_str(), arg[3]);
  if (group->dynamic[igroup])
    error->all(FLERR, "{}: group {} is dynamic; use a static group", who, group->names[igroup]);
  for (int iarg = 4; iarg < narg; iarg += 2)
    parse_keyword(arg[iarg], iarg + 1 < narg ? arg[iarg + 1] : nullptr);
}

void ComputeMSDMotif::parse_keyword(const std::string &keyword, const char *value)
{
  const auto require = [&](bool fits, const char *expected) {
    if (!fits)
      error->all(FLERR, "{}: {} {}; expected {}", who, keyword, value ? value : "has no value",
                 expected);
  };
  const char *text = value ? value : "";
  if (keyword == "com") {
    const int choice = find_name(COM_NAMES, text);
    require(choice >= 0, "all, group or none");
    com = static_cast<Com>(choice);
  } else if (keyword == "unwrap") {
    const int choice = find_name(UNWRAP_NAMES, text);
    require(choice >= 0, "fractional or image");
    unwrap = static_cast<Unwrap>(choice);
  } else if (keyword == "renew") {
    constexpr const char *EXPECTED = "a number of steps, at least 1";
    require(utils::is_integer(text), EXPECTED);
    renew = utils::bnumeric(FLERR, text, false, lmp);
    require(renew >= 1, EXPECTED);
  } else
    error->all(FLERR, "{}: unknown keyword {}; use com, unwrap or renew", who, keyword);
}

// Origins of a run before: those of another kind would pass for displacements.
void ComputeMSDMotif::resume(const std::vector<double> &state)
{
  if (state.size() != HISTORY + lbpsi::OriginHistory::PACKED)
    error->all(FLERR,
               "{}: compute {} of the restart file is of another style or version; give "
               "this one another ID",
               who, id);
  const auto require = [this](const char *what, const char *then, const char *now) {
    if (strcmp(then, now) != 0)
      error->all(FLERR,
                 "{}: the restart file has {} {} and the input {}; give the same, or "
                 "another ID for new origins",
                 who, what, then, now);
  };
  const int then = static_cast<int>(state[GROUP]);
  require("group", group->names[then] ? group->names[then] : "that is gone", group->names[igroup]);
  require("com", COM_NAMES[static_cast<int>(state[COM])], COM_NAMES[static_cast<int>(com)]);
  require("unwrap", UNWRAP_NAMES[static_cast<int>(state[UNWRAP])],
          UNWRAP_NAMES[static_cast<int>(unwrap)]);
  classified = state[CLASSIFIED] != 0.0;
  history = lbpsi::OriginHistory::unpack(&state[HISTORY]);
}

void ComputeMSDMotif::keep(std::vector<double> &state) const
{
  state.assign(HISTORY, 0.0);
  state[UNWRAP] = static_cast<int>(unwrap);
  state[COM] = static_cast<int>(com);
  state[GROUP] = igroup;
  state[CLASSIFIED] = classified;
  history.pack(state);
}

void ComputeMSDMotif::init()
{
  ComputeMotif::find(lmp, who.c_str(), motif_id.c_str());
  FixReferenceAtom::find(lmp, id);
}

// Neighbors are not known before.
void ComputeMSDMotif::setup()
{
  if (classified) return;
  auto *reference = FixReferenceAtom::find(lmp, id);
  auto *source = motif();
  source->update_peratom();
  const auto &motifs = source->motifs();
  for (int i = 0; i < atom->nlocal; ++i)
    if (member(i) && !reference->rows[i].empty())
      meet_class(reference->rows[i], class_of(motifs[i]));
  classified = true;
  keep(reference->global);
}

ComputeMotif *ComputeMSDMotif::motif() const
{
  auto *motif = ComputeMotif::find(lmp, who.c_str(), motif_id.c_str());
  if (!motif->is_initialized())
    error->all(FLERR, "{}: compute {} is newer than the last run; use run 0 first", who, motif_id);
  return motif;
}

bool ComputeMSDMotif::member(int i) const { return atom->mask[i] & groupbit; }

// Where the box has no period, or its cell is not wanted, a coordinate counts in Å.
Matrix ComputeMSDMotif::cell() const
{
  const double *h = domain->h;
  Matrix vectors = {{{h[0], 0.0, 0.0}, {h[5], h[1], 0.0}, {h[4], h[3], h[2]}}};
  for (int k = 0; k < 3; ++k)
    if (unwrap == Unwrap::image || !domain->periodicity[k]) vectors[k] = lbpsi::UNIT_MATRIX[k];
  return vectors;
}

void ComputeMSDMotif::find_coordinates()
{
  const Matrix to_lattice = inverse(history.continuous_cell());
  Vector corner{};
  if (unwrap == Unwrap::fractional)
    for (int k = 0; k < 3; ++k)
      if (domain->periodicity[k]) corner[k] = domain->boxlo[k];
  coordinates.resize(atom->nlocal);
  for (int i = 0; i < atom->nlocal; ++i) {
    Vector x;
    domain->unmap(atom->x[i], atom->image[i], x.data());
    coordinates[i] = (x - corner) * to_lattice;
  }
  if (com == Com::none) return;
  const Vector origin = centre();
  for (auto &coordinate : coordinates) coordinate = coordinate - origin;
}

Vector ComputeMSDMotif::centre() const
{
  double mine[4] = {}, all[4];
  for (int i = 0; i < atom->nlocal; ++i) {
    if (com == Com::group && !member(i)) continue;
    const double mass = atom->rmass ? atom->rmass[i] : atom->mass[atom->type[i]];
    for (int k = 0; k < 3; ++k) mine[k] += mass * coordinates[i][k];
    mine[3] += mass;
  }
  MPI_Allreduce(mine, all, 4, MPI_DOUBLE, MPI_SUM, world);
  if (all[3] == 0.0) return {};
  return {all[0] / all[3], all[1] / all[3], all[2] / all[3]};
}

void ComputeMSDMotif::evaluate()
{
  auto *reference = FixReferenceAtom::find(lmp, id);
  auto *source = motif();
  source->update_peratom();
  const auto &motifs = source->motifs();
  bool renewed = false;
  try {
    renewed = history.evaluate(update->ntimestep, cell(), renew);
  } catch (const std::invalid_argument &problem) {
    error->all(FLERR, "{}: step {}: {}", who, update->ntimestep, problem.what());
  }
  find_coordinates();
  if (atom->nmax > nmax) {
    nmax = atom->nmax;
    memory->destroy(array_atom);
    memory->create(array_atom, nmax, N_COLUMNS, "msd/motif:array_atom");
  }
  const Matrix mean = history.mean_cell();
  for (int i = 0; i < atom->nlocal; ++i) {
    std::fill(array_atom[i], array_atom[i] + N_COLUMNS, 0.0);
    if (!member(i)) continue;
    auto &row = reference->rows[i];
    advance(row, coordinates[i], class_of(motifs[i]), renewed, history.is_next_origin());
    const Vector moved = (coordinates[i] - Vector{row[X], row[Y], row[Z]}) * mean;
    array_atom[i][CLASS_AT_ORIGIN] = row[CLASS];
    std::copy(moved.begin(), moved.end(), array_atom[i] + DX);
  }
  classified = true;
  keep(reference->global);
}

void ComputeMSDMotif::compute_peratom()
{
  motif()->require_run();
  const bool current = (invoked_flag & INVOKED_ARRAY) && invoked_array == update->ntimestep;
  invoked_peratom = update->ntimestep;
  if (!current) evaluate();
}

void ComputeMSDMotif::compute_array()
{
  motif()->require_run();
  const bool current = (invoked_flag & INVOKED_PERATOM) && invoked_peratom == update->ntimestep;
  invoked_array = update->ntimestep;
  if (!current) evaluate();
  const auto *reference = FixReferenceAtom::find(lmp, id);
  ClassDisplacements mine, all;
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!member(i)) continue;
    const double *row = array_atom[i];
    mine.add(static_cast<int>(row[CLASS_AT_ORIGIN]), {row[DX], row[DY], row[DZ]},
             reference->rows[i][SURVIVES] != 0.0);
  }
  MPI_Allreduce(mine.sums.data(), all.sums.data(), static_cast<int>(mine.sums.size()), MPI_DOUBLE,
                MPI_SUM, world);
  for (int cls = 1; cls <= lbpsi::N_CLASSES; ++cls) all.row(cls, array[cls - 1]);
}

double ComputeMSDMotif::memory_usage()
{
  return static_cast<double>(nmax * N_COLUMNS * sizeof(double) +
                             coordinates.capacity() * sizeof(Vector));
}
