// What the motif of one atom follows from: its bonds, what its neighbors tell, and its anion.
//
// In this order over the owned atoms; what neighbors tell goes to ghosts in between (see Halo):
//   count_bonds                      of each atom; coordinations go to ghosts
//   share_formers                    of each S, a row of shared_width(most); rows go to ghosts
//   most_links, link                 of each former
//   components of the graph          of owned atoms and ghosts, joined by bonds and twins
//   settling                         of each ghost, round after round, until all labels hold
//   tally, put_anion                 of each atom, sums over each anion in between
//   class_of_former                  of each former; classes go to ghosts
//   class_of_other                   of each other atom
// The components are not the rule of one atom. However they are found, each is known by the least
// index of its atoms on this rank, its root, and its label is the least id of its atoms on all
// ranks: the same on any number of ranks and threads.

#ifndef LBPSI_MOTIF_RULES_H
#define LBPSI_MOTIF_RULES_H

#include "lbpsi/bond_rules.h"
#include "lbpsi/chemistry_table.h"
#include "lbpsi/hd.h"

#include <cstddef>
#include <cstdint>

namespace lbpsi {

// Of each owned atom.
struct Motif {
  // As in the rows of compute motif.
  enum Column { UNIT, COORDINATION, QN, EN, CLASS, ANION, ANION_ATOMS, N_COLUMNS };

  int unit = 0;            // 10 Z + coordination of a former, as in 154 for PS4; else 0
  int coordination = 0;    // S of a former, formers of an S or halide
  int qn = 0;              // bridging S of a former
  int en = 0;              // formers that share an edge with a former
  int cls = 0;    // MotifClass; of S and bound halides the first of their formers'; 0: left out
  std::int64_t anion = 0;    // least id of its atoms; 0: free
  std::int64_t anion_atoms = 0;
  std::int64_t anion_borons = 0;

  LBPSI_HD void columns(double *row) const
  {
    row[UNIT] = unit;
    row[COORDINATION] = coordination;
    row[QN] = qn;
    row[EN] = en;
    row[CLASS] = cls;
    row[ANION] = static_cast<double>(anion);
    row[ANION_ATOMS] = static_cast<double>(anion_atoms);
  }
};

LBPSI_HD void count_bonds(const GraphView &graph, int i, Motif &motif)
{
  const bool former = graph.role(i) == Role::former;
  const Role counted = former ? Role::sulfur : Role::former;
  int count = 0;
  for (const Bond *bond = graph.first(i); bond != graph.last(i); ++bond)
    count += graph.role(bond->j) == counted;
  motif.coordination = count;
  motif.unit = former ? 10 * graph.table.number(graph.atoms.type[i]) + count : 0;
}

// --- links ----------------------------------------------------------------------------------

// A former as seen from another: over shared S, or by a bond between the two. Images of a former
// are linked each by itself.
struct Link {
  std::int64_t id;
  double d[3];    // to it, Å
  int type;
  int coordination;    // number of its bonded S
  int shared;          // S that are bonded to both
  bool bonded;         // a homopolar bond
};

// What atoms tell their neighbors, of owned atoms and ghosts; doubles, as ghosts get them.
struct Told {
  const double *coordinations;    // (total)
  const double *formers;          // (total, width): of each S, number and an entry a former
  int width;

  LBPSI_HD const double *row(int sulfur) const
  {
    return formers + static_cast<std::size_t>(sulfur) * width;
  }
};

namespace detail {

// What an S tells of each of its formers: id, type, coordination and where it is from the S.
constexpr int ENTRY = 6;

LBPSI_HD bool same(const Link &a, const Link &b)
{
  return a.id == b.id && compare_places(a.d, b.d) == 0;
}

LBPSI_HD Link across(const double *to_sulfur, const double *entry)
{
  const double *on = entry + 3;
  return {static_cast<std::int64_t>(entry[0]),
          {to_sulfur[0] + on[0], to_sulfur[1] + on[1], to_sulfur[2] + on[2]},
          static_cast<int>(entry[1]),
          static_cast<int>(entry[2]),
          1,
          false};
}

// Add a link to n, sorted by id, where none leads to the same place; else to that one. Returns
// their number.
LBPSI_HD int add_link(Link *links, int n, const Link &next)
{
  int end = n;
  while (end > 0 && links[end - 1].id > next.id) --end;
  int image = end;
  while (image > 0 && links[image - 1].id == next.id) --image;
  for (; image < end; ++image)
    if (same(links[image], next)) {
      links[image].shared += next.shared;
      links[image].bonded |= next.bonded;
      return n;
    }
  for (int k = n; k > end; --k) links[k] = links[k - 1];
  links[end] = next;
  return n + 1;
}

}    // namespace detail

// Width of Told::formers, where no S has more than so many.
LBPSI_HD int shared_width(int most) { return 1 + detail::ENTRY * most; }

// The row by which an S tells its formers who else is bonded to it.
LBPSI_HD void share_formers(const GraphView &graph, const double *coordinations, int sulfur,
                            double *row)
{
  double *entry = row + 1;
  int count = 0;
  for (const Bond *bond = graph.first(sulfur); bond != graph.last(sulfur); ++bond) {
    if (graph.role(bond->j) != Role::former) continue;
    entry[0] = static_cast<double>(graph.atoms.id[bond->j]);
    entry[1] = graph.atoms.type[bond->j];
    entry[2] = coordinations[bond->j];
    for (int k = 0; k < 3; ++k) entry[3 + k] = bond->d[k];
    entry += detail::ENTRY;
    ++count;
  }
  row[0] = count;
}

// No former has more links than this.
LBPSI_HD int most_links(const GraphView &graph, const Told &told, int former)
{
  int most = 0;
  for (const Bond *bond = graph.first(former); bond != graph.last(former); ++bond) {
    const Role role = graph.role(bond->j);
    if (role == Role::former) ++most;
    if (role == Role::sulfur) most += static_cast<int>(told.row(bond->j)[0]);
  }
  return most;
}

// The links of a former, sorted by id; room for most_links() of them. Returns their number.
LBPSI_HD int link(const GraphView &graph, const Told &told, int former, Motif &motif, Link *links)
{
  const Atoms &atoms = graph.atoms;
  const Link itself{atoms.id[former], {0.0, 0.0, 0.0}, 0, 0, 0, false};
  int n = 0;
  motif.qn = motif.en = 0;
  for (const Bond *bond = graph.first(former); bond != graph.last(former); ++bond) {
    const int j = bond->j;
    const double *d = bond->d;
    const Role role = graph.role(j);
    if (role == Role::former)
      n = detail::add_link(links, n,
                           {atoms.id[j],
                            {d[0], d[1], d[2]},
                            atoms.type[j],
                            static_cast<int>(told.coordinations[j]),
                            0,
                            true});
    if (role != Role::sulfur) continue;
    const double *entry = told.row(j);
    const int formers = static_cast<int>(*entry++);
    motif.qn += formers > 1;
    for (int k = 0; k < formers; ++k, entry += detail::ENTRY) {
      const Link other = detail::across(d, entry);
      if (!detail::same(other, itself)) n = detail::add_link(links, n, other);
    }
  }
  for (int k = 0; k < n; ++k) motif.en += links[k].shared == 2;
  return n;
}

// --- anions ---------------------------------------------------------------------------------

// What a round of labels has left to do at a ghost, the largest over all ranks: another round, or
// nothing that would help.
enum Settling { SETTLED, UNSETTLED, UNHEARD };

// heard: label of the ghost as its owner has it now; here: label of its component on this rank;
// told: what this rank had for the ghost the round before, infinity in the first.
LBPSI_HD int settling(double heard, double here, double told)
{
  if (heard > told) return UNHEARD;
  return heard != here ? UNSETTLED : SETTLED;
}

// Sums over the atoms of one anion.
struct Tally {
  std::int64_t anion;
  std::int64_t atoms;
  std::int64_t formers;
  std::int64_t borons;
};

// What an owned atom is of its component.
LBPSI_HD Tally tally(const GraphView &graph, int i, double label)
{
  const int type = graph.atoms.type[i];
  return {static_cast<std::int64_t>(label), 1, graph.role(i) == Role::former,
          type >= 0 && graph.table.number(type) == BORON};
}

LBPSI_HD void put_anion(const Tally &whole, Motif &motif)
{
  if (whole.formers == 0) return;
  motif.anion = whole.anion;
  motif.anion_atoms = whole.atoms;
  motif.anion_borons = whole.borons;
}

// --- classes --------------------------------------------------------------------------------

// What the class of a former follows from.
struct FormerSummary {
  int number;                       // atomic number
  int coordination;                 // bonded S
  bool p_bond, p_edge, p_corner;    // with P, for a P
  bool bs4_corner, bs4_edge;        // PS4 with BS4, seen from either
  bool bs3_corner, bs3_edge;        // PS4 with BS3, seen from either
  std::int64_t borons;              // of its anion
};

LBPSI_HD FormerSummary summarise(const ChemistryTable &table, int type, const Motif &motif,
                                 const Link *link, const Link *last)
{
  FormerSummary former{};
  former.number = table.number(type);
  former.coordination = motif.coordination;
  former.borons = motif.anion_borons;
  const bool p = former.number == PHOSPHORUS, b = former.number == BORON;
  for (; link != last; ++link) {
    const int other = table.number(link->type);
    if (p && other == PHOSPHORUS) {
      former.p_bond |= link->bonded;
      former.p_edge |= link->shared == 2;
      former.p_corner |= link->shared == 1;
    }
    if (!(p && other == BORON) && !(b && other == PHOSPHORUS)) continue;
    if ((p ? former.coordination : link->coordination) != 4) continue;
    const int boron = p ? link->coordination : former.coordination;
    former.bs4_corner |= boron == 4 && link->shared == 1;
    former.bs4_edge |= boron == 4 && link->shared == 2;
    former.bs3_corner |= boron == 3 && link->shared == 1;
    former.bs3_edge |= boron == 3 && link->shared == 2;
  }
  return former;
}

// The first class of data/motifs.toml that matches.
LBPSI_HD MotifClass classify(const FormerSummary &former, int chain)
{
  if (former.p_bond) return MotifClass::p2s6_4;
  if (former.p_edge) return MotifClass::p2s6_2;
  if (former.bs4_corner) return MotifClass::ps4_bs4_corner;
  if (former.bs4_edge) return MotifClass::ps4_bs4_edge;
  if (former.bs3_corner) return MotifClass::ps4_bs3_corner;
  if (former.bs3_edge) return MotifClass::ps4_bs3_edge;
  if (former.p_corner) return MotifClass::p2s7;
  if (former.number == PHOSPHORUS && former.coordination == 4) return MotifClass::ps4;
  if (former.borons >= chain) return MotifClass::network;
  if (former.number == BORON) return MotifClass::small_borate;
  return MotifClass::other;
}

// Code of the class of a former whose links and anion are known.
LBPSI_HD int class_of_former(const GraphView &graph, int former, const Motif &motif,
                             const Link *link, const Link *last)
{
  const int type = graph.atoms.type[former];
  return static_cast<int>(
      classify(summarise(graph.table, type, motif, link, last), graph.table.chain));
}

// Code of the class of another atom from those of formers, (total); 0 of one that is left out.
LBPSI_HD int class_of_other(const GraphView &graph, const double *classes, int i)
{
  const Role role = graph.role(i);
  if (role == Role::none) return 0;
  int code = static_cast<int>(role == Role::halide ? MotifClass::halide : MotifClass::none);
  if (role == Role::cation) {
    const Environment &around = graph.environments[i];
    if (around.former >= 0) return static_cast<int>(classes[around.former]);
    const bool alone = around.halides > 0 && around.others == 0;
    return alone ? static_cast<int>(MotifClass::halide) : code;
  }
  for (const Bond *bond = graph.first(i); bond != graph.last(i); ++bond) {
    if (graph.role(bond->j) != Role::former) continue;
    const int theirs = static_cast<int>(classes[bond->j]);
    if (theirs < code) code = theirs;
  }
  return code;
}

// Class of any atom in a table that has a row for each class: an atom left out is of none.
LBPSI_HD int table_class(const Motif &motif)
{
  return motif.cls ? motif.cls : static_cast<int>(MotifClass::none);
}

}    // namespace lbpsi

#endif
