// compute motif/kk: as compute motif, on the device. The host hears of anions that cross ranks, and
// of what is asked of it: rows of array_atom, and bonds and motifs where a compute on the host
// reads them.

#ifndef LMP_COMPUTE_MOTIF_KOKKOS_H
#define LMP_COMPUTE_MOTIF_KOKKOS_H

#include "../lammps/compute_motif.h"
#include "bond_graph_kokkos.h"
#include "motif_analysis_kokkos.h"

namespace LAMMPS_NS {

class ComputeMotifKokkos : public ComputeMotif, protected lbpsi::kk::DeviceHalo {
 public:
  ComputeMotifKokkos(class LAMMPS *, int, char **);
  ~ComputeMotifKokkos() override;

  // The compute that another one on the device names.
  static ComputeMotifKokkos *find(class LAMMPS *, const char *user, const char *id);

  // Of the last evaluation, on the device.
  lbpsi::GraphView device_bonds() const { return device_graph.view(); }
  const lbpsi::kk::Vector<lbpsi::Motif> &device_motifs() const { return device_analysis.motifs(); }

  lbpsi::GraphView bonds() override;
  const std::vector<lbpsi::Motif> &motifs() override;

  void init() override;
  double memory_usage() override;

 protected:
  lbpsi::kk::DeviceChemistry device_chemistry;
  lbpsi::kk::DeviceGraph device_graph;
  lbpsi::kk::DeviceMotifs device_analysis;
  lbpsi::kk::Matrix<double> device_places;    // (placed, 3), Å, when the list was built
  int placed;
  lbpsi::kk::Vector<int> device_type, device_twin;    // (total)
  lbpsi::kk::Vector<std::int64_t> device_id;          // (total)

  // What the host has asked for of the last evaluation.
  bool has_graph, has_motifs;
  lbpsi::kk::HostGraph host_graph;
  std::vector<lbpsi::Motif> host_motifs;

  std::uint64_t atoms_fingerprint() const override;
  bool list_holds() const override;
  void build_list() override;
  void number_atoms() override;
  void find_bonds() override;
  void find_motifs() override;
  void count_formers(double *) const override;
  void fill_rows() override;

  void to_ghosts(const lbpsi::kk::Matrix<double> &) override;
  int largest(int) override;
  void total(std::vector<lbpsi::Tally> &) override;
};

}    // namespace LAMMPS_NS

#endif
