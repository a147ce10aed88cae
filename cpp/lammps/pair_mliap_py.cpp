#include "pair_mliap_py.h"

#include "mliap_loader.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <stdexcept>
#include <thread>

using namespace LAMMPS_NS;
using lbpsi::mliap::Scalar;

namespace {

// LAMMPS sizes its buffers from comm_forward and comm_reverse once, before a model's widest
// message is known: wider rows travel in pieces of this many doubles.
constexpr int SLOTS = 128;

std::size_t size_of(Scalar scalar)
{
  return scalar == Scalar::float32 ? sizeof(float) : sizeof(double);
}

template <class T> void add_rows(char *to, const double *from, std::size_t bytes)
{
  auto *sum = reinterpret_cast<T *>(to);
  auto *term = reinterpret_cast<const T *>(from);
  for (std::size_t k = 0; k < bytes / sizeof(T); ++k) sum[k] += term[k];
}

std::string joined(const std::vector<std::string> &words)
{
  std::string line;
  for (const auto &word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

// This rank among those on its machine. The launcher's word goes first: LAMMPS's own world may be
// one of several that share the machine (-partition, a sweep over temperatures).
struct Node {
  int rank = 0, size = 1;

  explicit Node(MPI_Comm world)
  {
    MPI_Comm shared;
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &shared);
    MPI_Comm_rank(shared, &rank);
    MPI_Comm_size(shared, &size);
    MPI_Comm_free(&shared);
    for (const char *name : {"MPI_LOCALRANKID", "SLURM_LOCALID"})
      if (const char *text = std::getenv(name)) rank = std::atoi(text);
    if (const char *text = std::getenv("MPI_LOCALNRANKS")) size = std::max(size, std::atoi(text));
  }
};

}    // namespace

PairMLIAPPy::PairMLIAPPy(LAMMPS *lmp) : Pair(lmp), travelling()
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  comm_forward = comm_reverse = SLOTS;
}

PairMLIAPPy::~PairMLIAPPy()
{
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

// A failure on one rank must reach all of them, or the others wait for it for ever.
void PairMLIAPPy::stop_together(const std::string &failure) const
{
  int mine = failure.empty() ? -1 : comm->me;
  int speaker;
  MPI_Allreduce(&mine, &speaker, 1, MPI_INT, MPI_MAX, world);
  if (speaker < 0) return;
  int length = static_cast<int>(failure.size());
  MPI_Bcast(&length, 1, MPI_INT, speaker, world);
  std::string text = failure;
  text.resize(length);
  MPI_Bcast(text.data(), length, MPI_CHAR, speaker, world);
  error->all(FLERR, "{}", text);
}

int PairMLIAPPy::default_threads() const
{
  const int neighbours = Node(world).size;    // collective: before any rank may return
  const char *chosen = std::getenv("OMP_NUM_THREADS");
  if (chosen && std::atoi(chosen) > 0) return std::atoi(chosen);
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
  return std::max(1, CPU_COUNT(&cores) / neighbours);
}

void PairMLIAPPy::settings(int narg, char **arg)
{
  if (narg < 1) utils::missing_cmd_args(FLERR, "pair_style mliap/py", error);
  std::string device = "cpu";
  int threads = default_threads();
  for (int iarg = 1; iarg < narg; iarg += 2) {
    const std::string keyword = arg[iarg];
    if (iarg + 1 >= narg) utils::missing_cmd_args(FLERR, "pair_style mliap/py " + keyword, error);
    if (keyword == "device") {
      device = arg[iarg + 1];
      if (!utils::strmatch(device, "^cpu$") && !utils::strmatch(device, "^cuda$") &&
          !utils::strmatch(device, "^cuda:\\d+$"))
        error->all(FLERR, "pair_style mliap/py: unknown device {}; use cpu, cuda or cuda:K",
                   device);
    } else if (keyword == "threads") {
      threads = utils::inumeric(FLERR, arg[iarg + 1], false, lmp);
      if (threads < 1)
        error->all(FLERR, "pair_style mliap/py: threads {} must be at least 1", threads);
    } else
      error->all(FLERR, "pair_style mliap/py: unknown keyword {}; use device or threads", keyword);
  }
  if (device == "cuda") device += ":" + std::to_string(Node(world).rank);

  std::string failure;
  try {
    model = lbpsi::mliap::load_model(arg[0], device, threads);
  } catch (const std::exception &problem) {
    failure = problem.what();
  }
  stop_together(failure);

  // the elements of the types were numbered for the model before: pair_coeff has to come again
  if (allocated)
    for (int i = 1; i <= atom->ntypes; ++i)
      for (int j = 1; j <= atom->ntypes; ++j) setflag[i][j] = 0;
}

void PairMLIAPPy::coeff(int narg, char **arg)
{
  const int ntypes = atom->ntypes;
  if (!allocated) {
    memory->create(setflag, ntypes + 1, ntypes + 1, "pair:setflag");
    memory->create(cutsq, ntypes + 1, ntypes + 1, "pair:cutsq");
    for (int i = 1; i <= ntypes; ++i)
      for (int j = 1; j <= ntypes; ++j) setflag[i][j] = 0;
    map = new int[ntypes + 1];
    allocated = 1;
  }
  if (narg != ntypes + 2)
    error->all(FLERR,
               "pair_coeff for mliap/py: {} elements for {} atom types; give * * and then one "
               "element, or NULL, for each type",
               std::max(0, narg - 2), ntypes);
  map_element2type(narg - 2, arg + 2);

  const auto &known = model->elements();
  element_of_type.assign(ntypes + 1, -1);
  for (int type = 1; type <= ntypes; ++type) {
    if (map[type] < 0) continue;
    const auto found = std::find(known.begin(), known.end(), elements[map[type]]);
    if (found == known.end())
      error->all(FLERR, "pair_coeff for mliap/py: the model does not know {}; it knows {}",
                 elements[map[type]], joined(known));
    element_of_type[type] = static_cast<int>(found - known.begin());
  }
}

void PairMLIAPPy::init_style()
{
  if (strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style mliap/py: units {} will not do; use units metal (eV, Å, ps)",
               update->unit_style);
  if (!force->newton_pair)
    error->all(FLERR, "pair_style mliap/py: newton pair is off; use newton on");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

double PairMLIAPPy::init_one(int i, int j)
{
  if (setflag[i][j] == 0)
    error->all(FLERR, "pair_style mliap/py: no element for atom types {} {}; give pair_coeff * *",
               i, j);
  return model->cutoff();
}

// Rows hold owned atoms first, then ghosts, as atoms do in LAMMPS; atoms of NULL types have none.
void PairMLIAPPy::number_rows()
{
  const int nall = atom->nlocal + atom->nghost;
  row_of_atom.assign(nall, -1);
  atom_of_row.clear();
  step.elems.clear();
  for (int i = 0; i < nall; ++i) {
    if (i == atom->nlocal) step.natoms = static_cast<int>(step.elems.size());
    const int element = element_of_type[atom->type[i]];
    if (element < 0) continue;
    row_of_atom[i] = static_cast<int>(step.elems.size());
    atom_of_row.push_back(i);
    step.elems.push_back(element);
  }
  step.ntotal = static_cast<int>(step.elems.size());
  if (atom->nghost == 0) step.natoms = step.ntotal;
}

void PairMLIAPPy::gather_pairs()
{
  double **x = atom->x;
  const double cutoffsq = model->cutoff() * model->cutoff();
  step.pair_i.clear();
  step.pair_j.clear();
  step.rij.clear();
  for (int ii = 0; ii < list->inum; ++ii) {
    const int i = list->ilist[ii];
    if (row_of_atom[i] < 0) continue;
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      if (row_of_atom[j] < 0) continue;
      const double d[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
      if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] >= cutoffsq) continue;
      step.pair_i.push_back(row_of_atom[i]);
      step.pair_j.push_back(row_of_atom[j]);
      step.rij.insert(step.rij.end(), d, d + 3);
    }
  }
}

// MACE leaves early on a rank with less than two pairs and never joins the exchange of features.
void PairMLIAPPy::require_pairs_everywhere() const
{
  struct {
    int npairs, rank;
  } mine = {step.npairs(), comm->me}, least;
  MPI_Allreduce(&mine, &least, 1, MPI_2INT, MPI_MINLOC, world);
  if (least.npairs > 1) return;
  error->all(FLERR,
             "pair_style mliap/py: MPI rank {} has {} pairs of atoms within {} Å and the model "
             "needs two on each rank; use fewer ranks, or set processors or balance",
             least.rank, least.npairs, model->cutoff());
}

void PairMLIAPPy::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  number_rows();
  gather_pairs();
  require_pairs_everywhere();

  step.eatoms.assign(step.natoms, 0.0);
  step.fij.resize(step.rij.size());
  try {
    model->compute(step, *this);
  } catch (const std::exception &problem) {
    fail(problem.what());
  }
  tally();
}

void PairMLIAPPy::fail(const std::string &reason)
{
  if (comm->nprocs > 1) {
    // A busy launcher drops what it has not yet forwarded when the abort below reaches it.
    fprintf(stderr, "pair_style mliap/py: %s\n", reason.c_str());
    fflush(stderr);
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  error->one(FLERR, "pair_style mliap/py: {}", reason);
}

void PairMLIAPPy::tally()
{
  double **f = atom->f;
  for (int pair = 0; pair < step.npairs(); ++pair) {
    const int i = atom_of_row[step.pair_i[pair]];
    const int j = atom_of_row[step.pair_j[pair]];
    const double *fij = &step.fij[3 * pair];
    for (int k = 0; k < 3; ++k) {
      f[i][k] += fij[k];
      f[j][k] -= fij[k];
    }
    if (vflag_either) tally_virial(i, j, &step.rij[3 * pair], fij);
  }
  if (eflag_global) eng_vdwl += step.energy;
  if (eflag_atom)
    for (int row = 0; row < step.natoms; ++row) eatom[atom_of_row[row]] += step.eatoms[row];
}

void PairMLIAPPy::tally_virial(int i, int j, const double *rij, const double *fij)
{
  // Symmetrised as ASE does: a model whose tensors went through float32 is equivariant to 1e-8
  // only.
  const auto term = [&](int a, int b) { return -0.5 * (rij[a] * fij[b] + rij[b] * fij[a]); };
  const double v[6] = {term(0, 0), term(1, 1), term(2, 2), term(0, 1), term(0, 2), term(1, 2)};
  for (int k = 0; k < 6; ++k) {
    if (vflag_global) virial[k] += v[k];
    if (vflag_atom) {
      vatom[i][k] += 0.5 * v[k];
      vatom[j][k] += 0.5 * v[k];
    }
  }
}

template <class Communicate>
void PairMLIAPPy::in_chunks(void *rows, int width, Scalar scalar, Communicate communicate)
{
  const std::size_t stride = width * size_of(scalar);
  for (std::size_t begin = 0; begin < stride; begin += SLOTS * sizeof(double)) {
    const std::size_t bytes = std::min(stride - begin, SLOTS * sizeof(double));
    const int slots = static_cast<int>((bytes + sizeof(double) - 1) / sizeof(double));
    travelling = {static_cast<char *>(rows) + begin, stride, bytes, slots, scalar};
    communicate(slots);
  }
}

void PairMLIAPPy::forward(const void *in, void *out, int width, Scalar scalar)
{
  std::memcpy(out, in, step.ntotal * width * size_of(scalar));
  in_chunks(out, width, scalar, [this](int slots) { comm->forward_comm(this, slots); });
}

void PairMLIAPPy::reverse(const void *in, void *out, int width, Scalar scalar)
{
  const std::size_t stride = width * size_of(scalar);
  std::memcpy(out, in, step.ntotal * stride);
  in_chunks(out, width, scalar, [this](int slots) { comm->reverse_comm(this, slots); });
  std::memset(static_cast<char *>(out) + step.natoms * stride, 0,
              (step.ntotal - step.natoms) * stride);
}

int PairMLIAPPy::pack_forward_comm(int n, int *sendlist, double *buf, int, int *)
{
  for (int k = 0; k < n; ++k, buf += travelling.slots) {
    const int row = row_of_atom[sendlist[k]];
    if (row >= 0) std::memcpy(buf, travelling.rows + row * travelling.stride, travelling.bytes);
  }
  return n * travelling.slots;
}

void PairMLIAPPy::unpack_forward_comm(int n, int first, double *buf)
{
  for (int i = first; i < first + n; ++i, buf += travelling.slots) {
    const int row = row_of_atom[i];
    if (row >= 0) std::memcpy(travelling.rows + row * travelling.stride, buf, travelling.bytes);
  }
}

int PairMLIAPPy::pack_reverse_comm(int n, int first, double *buf)
{
  for (int i = first; i < first + n; ++i, buf += travelling.slots) {
    const int row = row_of_atom[i];
    if (row >= 0) std::memcpy(buf, travelling.rows + row * travelling.stride, travelling.bytes);
  }
  return n * travelling.slots;
}

void PairMLIAPPy::unpack_reverse_comm(int n, int *sendlist, double *buf)
{
  for (int k = 0; k < n; ++k, buf += travelling.slots) {
    const int row = row_of_atom[sendlist[k]];
    if (row < 0) continue;
    char *to = travelling.rows + row * travelling.stride;
    if (travelling.scalar == Scalar::float32)
      add_rows<float>(to, buf, travelling.bytes);
    else
      add_rows<double>(to, buf, travelling.bytes);
  }
}

double PairMLIAPPy::memory_usage()
{
  const double index = (step.elems.capacity() + step.pair_i.capacity() + step.pair_j.capacity()) *
                       sizeof(std::int64_t);
  const double real =
      (step.rij.capacity() + step.fij.capacity() + step.eatoms.capacity()) * sizeof(double);
  return Pair::memory_usage() + index + real +
         (row_of_atom.capacity() + atom_of_row.capacity()) * sizeof(int);
}
