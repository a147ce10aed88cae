#include "compute_motif.h"

#include "fix_run_end.h"
#include "neigh_request_cutoff.h"
#include "refresh_ghosts.h"

#include "lbpsi/fingerprint.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

using namespace LAMMPS_NS;
using lbpsi::Motif;
using lbpsi::Role;
using lbpsi::Tally;

namespace {

// LAMMPS sizes its buffers from comm_forward once, before the widest row is known: wider rows
// travel in pieces of this many columns.
constexpr int SLOTS = 24;

// Of invoked_flag, which LAMMPS clears: another compute has asked. There is no array.
constexpr int INVOKED_MOTIFS = Compute::INVOKED_ARRAY;

}    // namespace

ComputeMotif::ComputeMotif(LAMMPS *lmp, int narg, char **arg) :
    Compute(lmp, narg, arg), list(nullptr), listed(-1), nmax(0), evaluated(-1), ended(false),
    last_atoms(0), travelling()
{
  peratom_flag = 1;
  size_peratom_cols = Motif::N_COLUMNS;
  vector_flag = 1;
  size_vector = lbpsi::N_FORMER_CLASSES;
  extvector = 0;
  comm_forward = SLOTS;
  vector = new double[size_vector];
  std::fill(vector, vector + size_vector, 0.0);
  try {
    parse(narg, arg);
  } catch (const std::invalid_argument &problem) {
    error->all(FLERR, "compute {} motif: {}", id, problem.what());
  }
  FixRunEnd::create(lmp, id, [this] {
    ended = true;
    last_atoms = fingerprint();
  });
}

ComputeMotif::~ComputeMotif()
{
  if (copymode) return;
  FixRunEnd::destroy(lmp, id);
  memory->destroy(array_atom);
  delete[] vector;
}

void ComputeMotif::parse(int narg, char **arg)
{
  const int ntypes = atom->ntypes;
  if (narg < 4 || strcmp(arg[3], "elements") != 0)
    error->all(FLERR,
               "compute {} motif: {} where the word elements was expected, as in elements Li "
               "B P S I",
               id, narg < 4 ? "nothing" : arg[3]);
  if (narg < 4 + ntypes)
    error->all(FLERR,
               "compute {} motif: {} elements for {} atom types; give one, or NULL, for each", id,
               narg - 4, ntypes);
  chemistry =
      std::make_unique<lbpsi::Chemistry>(std::vector<std::string>(arg + 4, arg + 4 + ntypes));
  for (int iarg = 4 + ntypes; iarg < narg;) {
    const std::string keyword = arg[iarg];
    const int words = keyword == "bond" ? 4 : 2;
    if (keyword != "bond" && keyword != "chain")
      error->all(FLERR,
                 "compute {} motif: unknown keyword {}; use bond or chain after the {} "
                 "elements of the atom types",
                 id, keyword, ntypes);
    if (iarg + words > narg)
      error->all(FLERR, "compute {} motif: {} needs {}", id, keyword,
                 keyword == "bond" ? "two elements and a cutoff, as in bond B S 2.4"
                                   : "a number, as in chain 6");
    if (keyword == "bond")
      chemistry->set_bond(arg[iarg + 1], arg[iarg + 2],
                          utils::numeric(FLERR, arg[iarg + 3], false, lmp));
    else
      chemistry->chain = utils::inumeric(FLERR, arg[iarg + 1], false, lmp);
    iarg += words;
  }
  if (chemistry->chain < 1)
    error->all(FLERR, "compute {} motif: chain {} must be at least 1 B", id, chemistry->chain);
}

ComputeMotif *ComputeMotif::find(LAMMPS *lmp, const char *user, const char *id)
{
  auto *compute = lmp->modify->get_compute_by_id(id);
  auto *motif = dynamic_cast<ComputeMotif *>(compute);
  if (!motif)
    lmp->error->all(FLERR, "{}: {} {}; expected the ID of a compute motif", user, id,
                    compute ? std::string("is a compute ") + compute->style : "is no compute");
  return motif;
}

void ComputeMotif::init()
{
  if (strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "compute {} motif: units {} will not do; use units metal (Å)", id,
               update->unit_style);
  if (!atom->tag_enable)
    error->all(FLERR, "compute {} motif: atoms have no IDs; remove atom_modify id no", id);
  require_formers(std::string("compute ") + id + " motif", igroup);
  require_masses();
  require_reach();
  require_all_pairs();
  evaluated = listed = -1;
  ended = false;

  // A list of the pair style's will do where it reaches far enough.
  if (neighbor->find_request(this)) return;    // rerun comes by at each frame
  auto *request = neighbor->add_request(this, NeighConst::REQ_FULL | NeighConst::REQ_OCCASIONAL);
  if (!pair_lists_suffice()) request->set_cutoff(chemistry->reach() + neighbor->skin);
}

// Whether lists of the pair style's cutoffs hold all contacts.
bool ComputeMotif::pair_lists_suffice() const
{
  if (!force->pair) return false;
  const double least = chemistry->reach();
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = 1; j <= atom->ntypes; ++j)
      if (force->pair->cutsq[i][j] < least * least) return false;
  return true;
}

void ComputeMotif::require_masses() const
{
  if (!atom->mass) return;
  try {
    for (int type = 0; type < atom->ntypes; ++type)
      chemistry->require_mass(type, atom->mass[type + 1]);
  } catch (const std::invalid_argument &problem) {
    error->all(FLERR, "compute {} motif: {}", id, problem.what());
  }
}

void ComputeMotif::require_reach()
{
  const double reach = chemistry->reach() + neighbor->skin;
  double ghosts = comm->cutghostuser;
  if (force->pair) ghosts = std::max(ghosts, force->pair->cutforce + neighbor->skin);
  if (reach <= ghosts) return;
  error->all(FLERR,
             "compute {} motif: its contacts reach {} Å ({} with the skin) and ghost atoms {} Å; "
             "use comm_modify cutoff {}",
             id, chemistry->reach(), reach, ghosts, reach);
}

// Contacts of pairs that lists or ghosts leave out would be missed without a word.
void ComputeMotif::require_all_pairs()
{
  if (comm->mode != Comm::SINGLE)
    error->all(FLERR,
               "compute {} motif: ghost atoms of some types may reach less than {} Å with "
               "comm_modify mode multi; use mode single",
               id, chemistry->reach());
  if (neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol)
    error->all(FLERR,
               "compute {} motif: neigh_modify exclude hides bonds; use neigh_modify exclude none, "
               "or a group without these atoms",
               id);
}

void ComputeMotif::require_formers(const std::string &user, int which) const
{
  if (group->dynamic[which]) return;    // filled later, and empty now and then
  bigint mine = 0, all;
  for (int i = 0; i < atom->nlocal; ++i)
    if (atom->mask[i] & group->bitmask[which])
      mine += chemistry->role(atom->type[i] - 1) == Role::former;
  MPI_Allreduce(&mine, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  if (all == 0)
    error->all(FLERR,
               "{}: group {} has no former (B, P, Si, Ge); give a group that holds formers and S, "
               "or mend elements of compute {}",
               user, group->names[which], id);
}

void ComputeMotif::init_list(int, NeighList *ptr) { list = ptr; }

// An occasional list is built at its first use since the last reneighboring. Atoms may have moved
// half the skin one way by then, and as far the other way later: LAMMPS sees neither.
bool ComputeMotif::list_holds() const
{
  const std::size_t nall = atom->nlocal + atom->nghost;
  if (listed != neighbor->lastcall || places.size() != 3 * nall) return false;
  const double most = 0.25 * neighbor->skin * neighbor->skin;
  double **x = atom->x;
  for (std::size_t i = 0; i < nall; ++i) {
    const double *then = &places[3 * i];
    const double d[3] = {x[i][0] - then[0], x[i][1] - then[1], x[i][2] - then[2]};
    if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] > most) return false;
  }
  return true;
}

void ComputeMotif::renew_list()
{
  // build_one does nothing for a list that is newer than the last reneighboring
  listed = neighbor->lastcall;
  neighbor->lastcall = MAXBIGINT;
  neighbor->build_one(list);
  neighbor->lastcall = listed;
}

void ComputeMotif::build_list()
{
  renew_list();
  places.clear();
  for (int i = 0; i < atom->nlocal + atom->nghost; ++i)
    places.insert(places.end(), atom->x[i], atom->x[i] + 3);
}

void ComputeMotif::number_atoms()
{
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  type_of.resize(nall);
  id_of.resize(nall);
  twin.resize(nall);
  const lbpsi::ChemistryTable table = chemistry->view();
  const bool mapped = atom->map_style != Atom::MAP_NONE;
  for (int i = 0; i < nall; ++i) {
    type_of[i] = lbpsi::type_if_seen(table, atom->type[i] - 1, atom->mask[i] & groupbit);
    id_of[i] = atom->tag[i];
    twin[i] = i;
    if (i < nlocal || !mapped) continue;
    const int owner = atom->map(atom->tag[i]);
    if (owner >= 0 && owner < nlocal) twin[i] = owner;
  }
}

void ComputeMotif::find_bonds()
{
  double **x = atom->x;
  graph.begin(chemistry->view(),
              {atom->nlocal, atom->nlocal + atom->nghost, type_of.data(), id_of.data()});
  for (int ii = 0; ii < list->inum; ++ii) {
    const int i = list->ilist[ii];
    if (type_of[i] < 0) continue;
    const int *neighbors = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = neighbors[jj] & NEIGHMASK;
      graph.visit(i, j, x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]);
    }
  }
  graph.finish();
}

// Of what neighbors and ghosts depend on.
std::uint64_t ComputeMotif::fingerprint() const
{
  auto sum = static_cast<std::uint64_t>(atom->nghost);
  for (const double edge : {domain->h[0], domain->h[1], domain->h[2], domain->h[3], domain->h[4],
                            domain->h[5], domain->boxlo[0], domain->boxlo[1], domain->boxlo[2]})
    sum = lbpsi::mix(sum, edge);
  return sum + atoms_fingerprint();
}

std::uint64_t ComputeMotif::atoms_fingerprint() const
{
  std::uint64_t sum = 0;
  for (int i = 0; i < atom->nlocal; ++i)
    sum += lbpsi::atom_fingerprint(i, atom->tag[i], atom->type[i], atom->mask[i] & groupbit,
                                   atom->x[i]);
  return sum;
}

// Commands between runs move atoms about, make and delete them, and leave lists and ghosts.
void ComputeMotif::require_run() const
{
  if (update->whichflag != 0) return;
  const int changed = !ended || neighbor->lastcall < 0 || fingerprint() != last_atoms;
  int any;
  MPI_Allreduce(&changed, &any, 1, MPI_INT, MPI_MAX, world);
  if (any)
    error->all(FLERR,
               "compute {} motif: read after a command that leaves neighbors out of date; use run "
               "0 before",
               id);
}

bool ComputeMotif::current() const
{
  return (invoked_flag & (INVOKED_VECTOR | INVOKED_PERATOM | INVOKED_MOTIFS)) &&
         evaluated == update->ntimestep;
}

void ComputeMotif::evaluate()
{
  // a fix that deforms the box at the end of a step leaves the ghosts where they were
  if (domain->box_change) lbpsi::refresh_ghosts(lmp);
  if (!list_holds()) build_list();
  number_atoms();
  find_bonds();
  try {
    find_motifs();
  } catch (const std::runtime_error &problem) {
    error->all(FLERR,
               "compute {} motif: {}: ghost atoms are missing; use comm_style brick, or another "
               "processor grid",
               id, problem.what());
  }
  evaluated = update->ntimestep;
}

void ComputeMotif::find_motifs() { analysis.run(graph.view(), twin, *this); }

void ComputeMotif::refresh()
{
  require_run();
  if (!current()) evaluate();
  invoked_flag |= INVOKED_MOTIFS;
}

void ComputeMotif::compute_vector()
{
  require_run();
  invoked_vector = update->ntimestep;
  if (!current()) evaluate();
  double mine[lbpsi::N_FORMER_CLASSES] = {};
  count_formers(mine);
  MPI_Allreduce(mine, vector, size_vector, MPI_DOUBLE, MPI_SUM, world);
}

void ComputeMotif::count_formers(double *of_class) const
{
  for (const auto &motif : analysis.motifs())
    if (motif.unit) of_class[motif.cls - 1] += 1.0;
}

void ComputeMotif::compute_peratom()
{
  require_run();
  invoked_peratom = update->ntimestep;
  if (!current()) evaluate();
  if (atom->nmax > nmax) {
    nmax = atom->nmax;
    memory->destroy(array_atom);
    memory->create(array_atom, nmax, Motif::N_COLUMNS, "motif:array_atom");
  }
  fill_rows();
}

void ComputeMotif::fill_rows()
{
  for (int i = 0; i < atom->nlocal; ++i) analysis.motifs()[i].columns(array_atom[i]);
}

void ComputeMotif::forward(double *rows, int width)
{
  for (int begin = 0; begin < width; begin += SLOTS) {
    travelling = {rows, width, begin, std::min(SLOTS, width - begin)};
    comm->forward_comm(this, travelling.count);
  }
}

int ComputeMotif::pack_forward_comm(int n, int *sendlist, double *buf, int, int *)
{
  const auto &now = travelling;
  for (int k = 0; k < n; ++k) {
    const double *row = now.rows + static_cast<std::size_t>(sendlist[k]) * now.width + now.begin;
    buf = std::copy(row, row + now.count, buf);
  }
  return n * now.count;
}

void ComputeMotif::unpack_forward_comm(int n, int first, double *buf)
{
  const auto &now = travelling;
  for (int i = first; i < first + n; ++i, buf += now.count)
    std::copy(buf, buf + now.count, now.rows + static_cast<std::size_t>(i) * now.width + now.begin);
}

int ComputeMotif::largest(int mine)
{
  int all;
  MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, world);
  return all;
}

// Anions that cross borders are few: every rank hears of all of them.
void ComputeMotif::total(std::vector<Tally> &mine)
{
  constexpr int FIELDS = sizeof(Tally) / sizeof(std::int64_t);
  int count = static_cast<int>(mine.size()) * FIELDS;
  std::vector<int> counts(comm->nprocs), starts(comm->nprocs, 0);
  MPI_Allgather(&count, 1, MPI_INT, counts.data(), 1, MPI_INT, world);
  for (int rank = 1; rank < comm->nprocs; ++rank)
    starts[rank] = starts[rank - 1] + counts[rank - 1];
  std::vector<Tally> all((starts.back() + counts.back()) / FIELDS);
  MPI_Allgatherv(mine.data(), count, MPI_INT64_T, all.data(), counts.data(), starts.data(),
                 MPI_INT64_T, world);

  const auto by_anion = [](const Tally &a, const Tally &b) { return a.anion < b.anion; };
  std::sort(all.begin(), all.end(), by_anion);
  for (auto &tally : mine) {
    const auto range = std::equal_range(all.begin(), all.end(), tally, by_anion);
    tally = {tally.anion, 0, 0, 0};
    for (auto part = range.first; part != range.second; ++part) {
      tally.atoms += part->atoms;
      tally.formers += part->formers;
      tally.borons += part->borons;
    }
  }
}

double ComputeMotif::memory_usage()
{
  return graph.memory() + analysis.memory() +
         static_cast<double>(nmax * Motif::N_COLUMNS * sizeof(double)) +
         static_cast<double>(places.capacity() * sizeof(double)) +
         static_cast<double>((type_of.capacity() + twin.capacity()) * sizeof(int) +
                             id_of.capacity() * sizeof(std::int64_t));
}
