#include "fix_run_end.h"

#include "delete_own_fix.h"

#include "modify.h"

using namespace LAMMPS_NS;

namespace {

std::string name(const char *compute) { return std::string(compute) + "_run_end"; }

}    // namespace

void FixRunEnd::create(LAMMPS *lmp, const char *compute, std::function<void()> notify)
{
  auto *fix = lmp->modify->add_fix(name(compute) + " all run/end");
  dynamic_cast<FixRunEnd *>(fix)->notify = std::move(notify);
}

void FixRunEnd::destroy(LAMMPS *lmp, const char *compute) { delete_own_fix(lmp, name(compute)); }
