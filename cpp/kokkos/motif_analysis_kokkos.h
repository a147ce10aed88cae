// As motif.h, on the device: motifs of a rank's atoms from their bonds.

#ifndef LBPSI_MOTIF_ANALYSIS_KOKKOS_H
#define LBPSI_MOTIF_ANALYSIS_KOKKOS_H

#include "arrays_kokkos.h"

#include "lbpsi/motif_rules.h"

#include <vector>

namespace lbpsi::kk {

// As lbpsi::Halo, with rows on the device.
class DeviceHalo {
 public:
  virtual void to_ghosts(const Matrix<double> &rows) = 0;
  virtual int largest(int mine) = 0;
  virtual void total(std::vector<Tally> &mine) = 0;

 protected:
  ~DeviceHalo() = default;
};

// Stores what motif_rules.h tells of each atom, and finds components by union-find without locks:
// of two roots the larger index is hung below the other, whichever thread comes first, so that the
// root of a component is its least index in any case.
class DeviceMotifs {
 public:
  // Collective. twin(j) of a ghost: the owned atom of this rank that it is an image of, or j.
  void run(const GraphView &, const Vector<int> &twin, DeviceHalo &);

  const Vector<Motif> &motifs() const { return rows; }
  double memory() const;    // bytes

 private:
  Vector<Motif> rows;    // (owned)
  Vector<Link> links;
  Vector<int> link_start, link_end;    // (owned + 1), (owned)
  Matrix<double> coordinations;        // (total, 1)
  Matrix<double> formers;              // (total, width) of Told
  Matrix<double> labels;               // (total, 1): least id known of the atom's component
  Matrix<double> classes;              // (total, 1)
  Vector<double> here, told;           // (total): labels of this round, and of the last
  Vector<int> parent;                  // (total)
  Vector<Tally> tallies;               // (owned), by root
  Vector<int> spanning;                // (owned + 1)

  int share_all_formers(const GraphView &, DeviceHalo &);
  void find_links(const GraphView &, int width);
  void label_components(const Atoms &, DeviceHalo &);
  void tally_anions(const GraphView &, const Vector<int> &twin, DeviceHalo &);
  void classify_all(const GraphView &, DeviceHalo &);
};

}    // namespace lbpsi::kk

#endif
