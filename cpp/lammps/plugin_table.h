// What a plugin adds to the styles that every plugin of ours registers.

#ifndef LBPSI_PLUGIN_TABLE_H
#define LBPSI_PLUGIN_TABLE_H

#include <string>
#include <vector>

namespace LAMMPS_NS {
class LAMMPS;
}

namespace lbpsi::plugin {

struct Style {
  const char *category, *name, *info;
  void *(*of_pair)(void *);    // one of the two
  void *(*of_command)(void *, int, char **);
};

template <class T> void *create(void *lmp) { return new T(static_cast<LAMMPS_NS::LAMMPS *>(lmp)); }

template <class T> void *create(void *lmp, int narg, char **arg)
{
  return new T(static_cast<LAMMPS_NS::LAMMPS *>(lmp), narg, arg);
}

// One definition in each plugin.
extern const char *const FILE_NAME;
extern const char *const REMEDY;    // where it meets another LAMMPS
std::vector<Style> more_styles();
// What of this LAMMPS differs from the one of the same release that it was compiled for; "":
// nothing.
std::string difference(void *lmp);

}    // namespace lbpsi::plugin

#endif
