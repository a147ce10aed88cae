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
using lbpsi::ClassDisplacements;
using lbpsi::Matrix;
using lbpsi::OriginRow;
using lbpsi::Vector;

namespace {

// Head of the state that all ranks share; the history follows.
enum StateEntry { UNWRAP, COM, GROUP, CLASSIFIED, HISTORY };

constexpr const char *COM_NAMES[] = {"all", "group", "none"};
constexpr const char *UNWRAP_NAMES[] = {"fractional", "image"};

template <int N> int find_name(const char *const (&names)[N], const char *name)
{
  for (int k = 0; k < N; ++k)
    if (strcmp(names[k], name) == 0) return k;
  return -1;
}

// As the fix has it.
OriginRow read(const std::vector<double> &kept)
{
  return OriginRow::unpack(kept.data(), static_cast<int>(kept.size()));
}

void write(const OriginRow &row, std::vector<double> &kept)
{
  double numbers[OriginRow::LONGEST];
  kept.assign(numbers, numbers + row.pack(numbers));
}

}    // namespace

ComputeMSDMotif::ComputeMSDMotif(LAMMPS *lmp, int narg, char **arg) :
    ComputeMSDMotif(lmp, narg, arg, "reference/atom")
{
  start();
}

ComputeMSDMotif::ComputeMSDMotif(LAMMPS *lmp, int narg, char **arg, const char *state) :
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
  FixReferenceAtom::create(lmp, id, group->names[igroup], OriginRow::LONGEST, state);
}

void ComputeMSDMotif::start()
{
  auto *reference = FixReferenceAtom::find(lmp, id);
  if (reference->restart_reset) {
    resume(reference->global);
    return;
  }
  if (com != Com::none) atom->check_mass(FLERR);
  history.start(update->ntimestep, cell());
  find_coordinates();
  start_rows();
  keep(reference->global);
}

void ComputeMSDMotif::start_rows()
{
  auto *reference = FixReferenceAtom::find(lmp, id);
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!member(i)) continue;
    OriginRow row;
    row.start(coordinates[i]);
    write(row, reference->rows[i]);
  }
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
  motif()->refresh();
  classify_rows();
  classified = true;
  keep(FixReferenceAtom::find(lmp, id)->global);
}

void ComputeMSDMotif::classify_rows()
{
  auto *reference = FixReferenceAtom::find(lmp, id);
  const auto &motifs = motif()->motifs();
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!member(i) || reference->rows[i].empty()) continue;
    auto row = read(reference->rows[i]);
    row.meet_class(table_class(motifs[i]));
    write(row, reference->rows[i]);
  }
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

ComputeMSDMotif::Frame ComputeMSDMotif::frame() const
{
  Frame now{{}, inverse(history.continuous_cell())};
  if (unwrap == Unwrap::fractional)
    for (int k = 0; k < 3; ++k)
      if (domain->periodicity[k]) now.corner[k] = domain->boxlo[k];
  return now;
}

void ComputeMSDMotif::find_coordinates()
{
  place(frame());
  if (com == Com::none) return;
  double mine[4] = {}, all[4];
  sum_masses(mine);
  MPI_Allreduce(mine, all, 4, MPI_DOUBLE, MPI_SUM, world);
  subtract(all[3] == 0.0 ? Vector{} : Vector{{all[0] / all[3], all[1] / all[3], all[2] / all[3]}});
}

void ComputeMSDMotif::place(const Frame &now)
{
  coordinates.resize(atom->nlocal);
  for (int i = 0; i < atom->nlocal; ++i) {
    Vector where;
    domain->unmap(atom->x[i], atom->image[i], where.begin());
    coordinates[i] = lattice_coordinate(where, now.corner, now.to_lattice);
  }
}

void ComputeMSDMotif::sum_masses(double *sums) const
{
  for (int i = 0; i < atom->nlocal; ++i) {
    if (com == Com::group && !member(i)) continue;
    const double mass = atom->rmass ? atom->rmass[i] : atom->mass[atom->type[i]];
    for (int k = 0; k < 3; ++k) sums[k] += mass * coordinates[i][k];
    sums[3] += mass;
  }
}

void ComputeMSDMotif::subtract(const Vector &origin)
{
  for (auto &coordinate : coordinates) coordinate = coordinate - origin;
}

void ComputeMSDMotif::evaluate()
{
  motif()->refresh();
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
  advance_rows(renewed);
  classified = true;
  keep(FixReferenceAtom::find(lmp, id)->global);
}

void ComputeMSDMotif::advance_rows(bool renewed)
{
  auto *reference = FixReferenceAtom::find(lmp, id);
  const auto &motifs = motif()->motifs();
  const Matrix mean = history.mean_cell();
  for (int i = 0; i < atom->nlocal; ++i) {
    std::fill(array_atom[i], array_atom[i] + N_COLUMNS, 0.0);
    if (!member(i)) continue;
    auto row = read(reference->rows[i]);
    row.advance(coordinates[i], table_class(motifs[i]), renewed, history.is_next_origin());
    write(row, reference->rows[i]);
    const Vector moved = row.displacement(coordinates[i], mean);
    array_atom[i][CLASS_AT_ORIGIN] = row.cls();
    std::copy(moved.begin(), moved.end(), array_atom[i] + DX);
  }
}

void ComputeMSDMotif::compute_peratom()
{
  motif()->require_run();
  const bool current = (invoked_flag & INVOKED_ARRAY) && invoked_array == update->ntimestep;
  invoked_peratom = update->ntimestep;
  if (!current) evaluate();
  fill_rows();
}

void ComputeMSDMotif::compute_array()
{
  motif()->require_run();
  const bool current = (invoked_flag & INVOKED_PERATOM) && invoked_peratom == update->ntimestep;
  invoked_array = update->ntimestep;
  if (!current) evaluate();
  ClassDisplacements mine, all;
  sum_classes(mine);
  constexpr int ENTRIES = lbpsi::N_CLASSES * ClassDisplacements::N_COLUMNS;
  MPI_Allreduce(mine.sums, all.sums, ENTRIES, MPI_DOUBLE, MPI_SUM, world);
  for (int cls = 1; cls <= lbpsi::N_CLASSES; ++cls) all.row(cls, array[cls - 1]);
}

void ComputeMSDMotif::sum_classes(ClassDisplacements &mine) const
{
  const auto *reference = FixReferenceAtom::find(lmp, id);
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!member(i)) continue;
    const double *row = array_atom[i];
    mine.add(static_cast<int>(row[CLASS_AT_ORIGIN]), {{row[DX], row[DY], row[DZ]}},
             read(reference->rows[i]).survives());
  }
}

double ComputeMSDMotif::memory_usage()
{
  return static_cast<double>(nmax * N_COLUMNS * sizeof(double) +
                             coordinates.capacity() * sizeof(Vector));
}
