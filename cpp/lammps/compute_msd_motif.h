// compute msd/motif: mean squared displacements by motif class.
//
//   compute ID group msd/motif motifID [com all|group|none] [unwrap fractional|image] [renew n]
//
// Array, a row a class: atoms of that class at the origin, MSD (Å^2), its x, y and z parts,
// survivors (atoms whose class has held at every evaluation since), survivors' MSD. Per atom: class
// at the origin, displacement (Å).

#ifndef LMP_COMPUTE_MSD_MOTIF_H
#define LMP_COMPUTE_MSD_MOTIF_H

#include "compute.h"
#include "lbpsi/displacement.h"
#include "lbpsi/msd.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class ComputeMSDMotif : public Compute {
 public:
  ComputeMSDMotif(class LAMMPS *, int, char **);
  ~ComputeMSDMotif() override;

  void init() override;
  void setup() override;
  void compute_array() override;
  void compute_peratom() override;
  double memory_usage() override;

 protected:
  // state: the style of the fix that keeps the origins. Whoever calls this calls start() next.
  ComputeMSDMotif(class LAMMPS *, int, char **, const char *state);
  // The origin is where the atoms are now, or that of the restart file.
  void start();

  // What turns places into coordinates of the lattice.
  struct Frame {
    lbpsi::Vector corner;
    lbpsi::Matrix to_lattice;
  };

  enum Column { CLASS_AT_ORIGIN, DX, DY, DZ, N_COLUMNS };    // of array_atom
  enum class Com { all, group, none };
  enum class Unwrap { fractional, image };

  std::string who, motif_id;    // who: as errors name this compute
  Com com;
  Unwrap unwrap;
  bigint renew;    // steps; 0: never
  lbpsi::OriginHistory history;
  bool classified;    // the first run has given the origin its classes
  int nmax;
  std::vector<lbpsi::Vector> coordinates;    // (owned), from the centre of mass

  void parse(int, char **);
  void parse_keyword(const std::string &, const char *);
  void resume(const std::vector<double> &);
  void keep(std::vector<double> &) const;
  bool member(int) const;
  lbpsi::Matrix cell() const;
  Frame frame() const;
  void find_coordinates();
  class ComputeMotif *motif() const;
  void evaluate();

  // Where the atoms are matters to these.
  virtual void place(const Frame &);               // coordinates in the lattice
  virtual void sum_masses(double *sums) const;     // mass x coordinate (3), mass
  virtual void subtract(const lbpsi::Vector &);    // from coordinates
  virtual void start_rows();                       // of reference/atom
  virtual void classify_rows();
  virtual void advance_rows(bool renewed);
  virtual void sum_classes(lbpsi::ClassDisplacements &) const;
  virtual void fill_rows() {}    // of array_atom, which advance_rows did
};

}    // namespace LAMMPS_NS

#endif
