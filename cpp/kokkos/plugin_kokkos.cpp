// The plugin for a LAMMPS with the package KOKKOS: the plain styles and those on the device.

#include "../lammps/plugin_table.h"
#include "compute_kabsch_kokkos.h"
#include "compute_motif_kokkos.h"
#include "compute_msd_motif_kokkos.h"
#include "fix_halo_kokkos.h"
#include "fix_reference_atom_kokkos.h"

#include "kokkos_type.h"
#include "library.h"
#include "lmptype.h"

#include <initializer_list>
#include <string>
#include <string_view>

namespace lbpsi::plugin {
namespace {

constexpr struct {
  const char *name;
  bool compiled_for;
} BACKENDS[] = {
#ifdef KOKKOS_ENABLE_CUDA
    {"cuda", true},
#else
    {"cuda", false},
#endif
#ifdef KOKKOS_ENABLE_HIP
    {"hip", true},
#else
    {"hip", false},
#endif
#ifdef KOKKOS_ENABLE_SYCL
    {"sycl", true},
#else
    {"sycl", false},
#endif
#ifdef KOKKOS_ENABLE_OPENMP
    {"openmp", true},
#else
    {"openmp", false},
#endif
#ifdef KOKKOS_ENABLE_SERIAL
    {"serial", true},
#else
    {"serial", false},
#endif
};

#if defined(LMP_KOKKOS_SINGLE_SINGLE)
constexpr std::string_view PRECISION = "single";
#elif defined(LMP_KOKKOS_SINGLE_DOUBLE)
constexpr std::string_view PRECISION = "mixed";
#else
constexpr std::string_view PRECISION = "double";
#endif
#ifdef LMP_KOKKOS_LAYOUT_DEFAULT
constexpr std::string_view LAYOUT = "default";
#else
constexpr std::string_view LAYOUT = "legacy";
#endif

// What this LAMMPS has in place of what the plugin was compiled for; a release that has no choice
// says nothing.
std::string other(const char *category, std::string_view compiled_for,
                  std::initializer_list<const char *> settings)
{
  for (const char *setting : settings)
    if (setting != compiled_for && lammps_config_accelerator("KOKKOS", category, setting))
      return std::string("it was built for a Kokkos of ") + category + " " +
             std::string(compiled_for) + " and this one has " + setting;
  return "";
}

struct Integer {
  const char *name;
  int bytes;
};

}    // namespace

const char *const FILE_NAME = "lbpsikkplugin.so";
const char *const REMEDY =
    "compile it again with -D LBPSI_KOKKOS=ON and the folder that this LAMMPS "
    "was compiled in";

std::string difference(void *lmp)
{
  for (const auto &backend : BACKENDS) {
    const bool here = lammps_config_accelerator("KOKKOS", "api", backend.name);
    if (here != backend.compiled_for)
      return std::string("it was built for a Kokkos ") + (here ? "without " : "with ") +
             backend.name + " and this one is " + (here ? "with" : "without");
  }
  if (auto found = other("precision", PRECISION, {"single", "mixed", "double"}); !found.empty())
    return found;
  if (auto found = other("layout", LAYOUT, {"legacy", "default"}); !found.empty()) return found;
  for (const auto &integer :
       {Integer{"bigint", sizeof(LAMMPS_NS::bigint)}, Integer{"tagint", sizeof(LAMMPS_NS::tagint)},
        Integer{"imageint", sizeof(LAMMPS_NS::imageint)}}) {
    const int here = lammps_extract_setting(lmp, integer.name);
    if (here != integer.bytes)
      return std::string("it was built for a ") + integer.name + " of " +
             std::to_string(integer.bytes) + " bytes and this one has " + std::to_string(here);
  }
  return "";
}

std::vector<Style> more_styles()
{
  using namespace LAMMPS_NS;
  constexpr const char *MOTIF = "compute motif on the device";
  constexpr const char *KABSCH = "compute kabsch on the device";
  constexpr const char *MSD = "compute msd/motif on the device";
  return {{"compute", "motif/kk", MOTIF, nullptr, create<ComputeMotifKokkos>},
          {"compute", "motif/kk/device", MOTIF, nullptr, create<ComputeMotifKokkos>},
          {"compute", "kabsch/kk", KABSCH, nullptr, create<ComputeKabschKokkos>},
          {"compute", "kabsch/kk/device", KABSCH, nullptr, create<ComputeKabschKokkos>},
          {"compute", "msd/motif/kk", MSD, nullptr, create<ComputeMSDMotifKokkos>},
          {"compute", "msd/motif/kk/device", MSD, nullptr, create<ComputeMSDMotifKokkos>},
          {"fix", "halo/kk", "carries rows of a compute to ghosts on the device", nullptr,
           create<FixHaloKokkos>},
          {"fix", "reference/atom/kk", "state that a compute keeps for its atoms on the device",
           nullptr, create<FixReferenceAtomKokkos>}};
}

}    // namespace lbpsi::plugin
