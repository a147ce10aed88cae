// Motifs, rotations and displacements of frames by the rules of one atom alone, as a device has
// them: arrays that are there, sweeps over atoms, numbers counted before they are put, no library.
//
// Reads frames of a cube, "n side" and n lines "type x y z" (types of ELEMENTS, -1 left out), whose
// bonds reach less than half the side. Writes a line an atom for each, columns of motif and unit,
// and the fingerprints of atoms and bonds; at last the table of displacements by class.

#include "lbpsi/bond_rules.h"
#include "lbpsi/chemistry_table.h"
#include "lbpsi/displacement.h"
#include "lbpsi/fingerprint.h"
#include "lbpsi/hd.h"
#include "lbpsi/kabsch.h"
#include "lbpsi/matrix.h"
#include "lbpsi/motif_rules.h"
#include "lbpsi/unit.h"

#include <cmath>
#include <cstdint>
#include <cstdio>

using namespace lbpsi;

constexpr int MOST = 600, MOST_BONDS = 32 * MOST, MOST_SHARED = 24, MOST_ALL_LINKS = 64 * MOST;
constexpr int ELEMENTS = 5, HOLD = 2;
constexpr const char *SYMBOLS[ELEMENTS] = {"Li", "B", "P", "S", "I"};

struct State {
  int n;
  double side;
  double x[MOST][3];
  int type[MOST];
  std::int64_t id[MOST];
  Role roles[ELEMENTS];
  int numbers[ELEMENTS];
  double bond_sq[ELEMENTS * ELEMENTS], shell_sq[ELEMENTS * ELEMENTS];

  int start[MOST + 1], link_start[MOST + 1], links_of[MOST], root[MOST];
  Bond bonds[MOST_BONDS];
  Environment environments[MOST];
  double coordinations[MOST], classes[MOST];
  double formers[MOST * (1 + 6 * MOST_SHARED)];
  Link links[MOST_ALL_LINKS];
  Motif motifs[MOST];
  Tally tallies[MOST];

  double references[MOST][MOST_PACKED], origins[MOST][OriginRow::LONGEST];
  int referenced[MOST], has_origin[MOST];
  UnitRotation rotations[MOST];
  ClassDisplacements moved;
  std::uint64_t atoms_print;
  double bonds_print;
};

LBPSI_HD double apart(const State &s, int i, int j, double *d)
{
  double rsq = 0.0;
  for (int k = 0; k < 3; ++k) {
    d[k] = s.x[j][k] - s.x[i][k];
    d[k] -= s.side * std::floor(d[k] / s.side + 0.5);
    rsq += d[k] * d[k];
  }
  return rsq;
}

LBPSI_HD int find_bonds(State &s, const Atoms &atoms, const ChemistryTable &table, int i, Bond *at)
{
  int count = 0;
  Environment around;
  for (int j = 0; j < s.n; ++j) {
    if (j == i) continue;
    Bond bond{i, j, {}};
    const double rsq = apart(s, i, j, bond.d);
    const Contact found = contact(table, atoms.type[i], atoms.type[j], rsq);
    if (found == Contact::around) meet(atoms, table, i, j, rsq, around);
    if (found != Contact::bond) continue;
    if (at) at[count] = bond;
    ++count;
  }
  s.environments[i] = around;
  if (at) sort_bonds(atoms, at, at + count);
  return count;
}

LBPSI_HD GraphView find_graph(State &s)
{
  const Atoms atoms{s.n, s.n, s.type, s.id};
  const ChemistryTable table{ELEMENTS,           s.roles,     s.numbers, s.bond_sq, s.shell_sq,
                             table::ENVIRONMENT, table::CHAIN};
  s.start[0] = 0;
  for (int i = 0; i < s.n; ++i)
    s.start[i + 1] = s.start[i] + find_bonds(s, atoms, table, i, nullptr);
  for (int i = 0; i < s.n; ++i) find_bonds(s, atoms, table, i, s.bonds + s.start[i]);
  return {atoms, table, s.start, s.bonds, s.environments};
}

// Each atom takes the least root among its neighbors until none changes.
LBPSI_HD void find_components(State &s, const GraphView &graph)
{
  for (int i = 0; i < s.n; ++i) s.root[i] = i;
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < s.n; ++i)
      for (const Bond *bond = graph.first(i); bond != graph.last(i); ++bond)
        if (s.root[bond->j] < s.root[i]) {
          s.root[i] = s.root[bond->j];
          changed = true;
        }
  }
  // ids rise with indices, and nobody has to be told
  for (int i = 0; i < s.n; ++i) s.tallies[i] = Tally{};
  for (int i = 0; i < s.n; ++i) {
    const double label = static_cast<double>(s.id[s.root[i]]);
    if (settling(label, label, label) != SETTLED) s.root[i] = -1;
    const Tally mine = tally(graph, i, label);
    Tally &sum = s.tallies[s.root[i]];
    sum.anion = mine.anion;
    sum.atoms += mine.atoms;
    sum.formers += mine.formers;
    sum.borons += mine.borons;
  }
  for (int i = 0; i < s.n; ++i) put_anion(s.tallies[s.root[i]], s.motifs[i]);
}

LBPSI_HD bool find_motifs(State &s, const GraphView &graph)
{
  int most = 0;
  for (int i = 0; i < s.n; ++i) {
    s.motifs[i] = Motif{};
    count_bonds(graph, i, s.motifs[i]);
    s.coordinations[i] = s.motifs[i].coordination;
    if (graph.role(i) == Role::sulfur && s.motifs[i].coordination > most)
      most = s.motifs[i].coordination;
  }
  if (most > MOST_SHARED) return false;
  const Told told{s.coordinations, s.formers, shared_width(most)};
  for (int i = 0; i < s.n; ++i)
    if (graph.role(i) == Role::sulfur)
      share_formers(graph, s.coordinations, i, s.formers + i * told.width);
  s.link_start[0] = 0;
  for (int i = 0; i < s.n; ++i) {
    const bool former = graph.role(i) == Role::former;
    s.link_start[i + 1] = s.link_start[i] + (former ? most_links(graph, told, i) : 0);
  }
  if (s.link_start[s.n] > MOST_ALL_LINKS) return false;
  for (int i = 0; i < s.n; ++i)
    if (graph.role(i) == Role::former)
      s.links_of[i] = link(graph, told, i, s.motifs[i], s.links + s.link_start[i]);
  find_components(s, graph);
  for (int i = 0; i < s.n; ++i) {
    const Link *first = s.links + s.link_start[i];
    if (graph.role(i) == Role::former)
      s.motifs[i].cls = class_of_former(graph, i, s.motifs[i], first, first + s.links_of[i]);
    s.classes[i] = s.motifs[i].cls;
  }
  for (int i = 0; i < s.n; ++i)
    if (graph.role(i) != Role::former) s.motifs[i].cls = class_of_other(graph, s.classes, i);
  return true;
}

LBPSI_HD bool find_rotations(State &s, const GraphView &graph)
{
  for (int i = 0; i < s.n; ++i) {
    s.rotations[i] = UnitRotation{};
    if (graph.role(i) != Role::former) continue;
    UnitReference reference;
    if (reference.unpack(s.references[i], s.referenced[i]) != UnitReference::SOUND) return false;
    s.rotations[i] = reference.update(ligands_of(graph, i), HOLD);
    s.referenced[i] = reference.pack(s.references[i]);
  }
  return true;
}

LBPSI_HD void find_displacements(State &s)
{
  const Matrix to_lattice{{{{1 / s.side, 0, 0}}, {{0, 1 / s.side, 0}}, {{0, 0, 1 / s.side}}}};
  const Matrix cell{{{{s.side, 0, 0}}, {{0, s.side, 0}}, {{0, 0, s.side}}}};
  s.moved = ClassDisplacements{};
  for (int i = 0; i < s.n; ++i) {
    const Vector place{{s.x[i][0], s.x[i][1], s.x[i][2]}};
    const Vector coordinate = lattice_coordinate(place, Vector{{0.0, 0.0, 0.0}}, to_lattice);
    OriginRow row = OriginRow::unpack(s.origins[i], s.has_origin[i]);
    row.advance(coordinate, table_class(s.motifs[i]), false, false);
    s.has_origin[i] = row.pack(s.origins[i]);
    s.moved.add(row.cls(), row.displacement(coordinate, cell), row.survives());
  }
}

LBPSI_HD bool evaluate(State &s)
{
  const GraphView graph = find_graph(s);
  if (s.start[s.n] > MOST_BONDS || !find_motifs(s, graph) || !find_rotations(s, graph))
    return false;
  find_displacements(s);
  s.atoms_print = 0;
  s.bonds_print = 0.0;
  for (int i = s.n - 1; i >= 0; --i) {
    s.atoms_print += atom_fingerprint(i, s.id[i], s.type[i], 1, s.x[i]);
    for (const Bond *bond = graph.first(i); bond != graph.last(i); ++bond)
      s.bonds_print += fingerprint(graph.atoms, *bond);
  }
  return true;
}

#if defined(__CUDACC__)
__global__ void evaluate_on_device(State *s, bool *well) { *well = evaluate(*s); }
#endif

static void fill_squares(const PairCutoff *pair, const PairCutoff *end, double *squares)
{
  for (; pair != end; ++pair)
    for (int a = 0; a < ELEMENTS; ++a)
      for (int b = 0; b < ELEMENTS; ++b) {
        const auto is = [](const char *x, const char *y) {
          while (*x && *x == *y) ++x, ++y;
          return *x == *y;
        };
        if (is(pair->a, SYMBOLS[a]) && is(pair->b, SYMBOLS[b]))
          squares[a * ELEMENTS + b] = squares[b * ELEMENTS + a] = pair->cutoff * pair->cutoff;
      }
}

static State state;

static bool read_frame()
{
  State &s = state;
  if (std::scanf("%d %lf", &s.n, &s.side) != 2 || s.n > MOST) return false;
  for (int i = 0; i < s.n; ++i) {
    s.id[i] = i + 1;
    if (std::scanf("%d %lf %lf %lf", &s.type[i], &s.x[i][0], &s.x[i][1], &s.x[i][2]) != 4)
      return false;
  }
  return true;
}

int main()
{
  State &s = state;
  for (const Element &element : table::ELEMENTS)
    for (int k = 0; k < ELEMENTS; ++k)
      if (element.symbol[0] == SYMBOLS[k][0] && element.symbol[1] == SYMBOLS[k][1]) {
        s.roles[k] = element.role;
        s.numbers[k] = element.number;
      }
  fill_squares(table::BONDS, table::BONDS + sizeof(table::BONDS) / sizeof(PairCutoff), s.bond_sq);
  fill_squares(table::SHELLS, table::SHELLS + sizeof(table::SHELLS) / sizeof(PairCutoff),
               s.shell_sq);
  while (read_frame()) {
    if (!evaluate(s)) return 1;
    for (int i = 0; i < s.n; ++i) {
      double row[Motif::N_COLUMNS + UnitRotation::N_COLUMNS];
      s.motifs[i].columns(row);
      s.rotations[i].columns(row + Motif::N_COLUMNS);
      for (const double number : row) std::printf("%.17g ", number);
      std::printf("%d\n", s.rotations[i].exchanges);
    }
    std::printf("%llu %.17g\n", static_cast<unsigned long long>(s.atoms_print), s.bonds_print);
  }
  for (int cls = 1; cls <= N_CLASSES; ++cls) {
    double row[ClassDisplacements::N_COLUMNS];
    s.moved.row(cls, row);
    for (const double number : row) std::printf("%.17g ", number);
    std::printf("\n");
  }
}
