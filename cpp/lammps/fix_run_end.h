// fix run/end: tells the compute that made it when a run has ended.
//
//   fix ID group run/end
//
// Made by a compute, not by users.

#ifndef LMP_FIX_RUN_END_H
#define LMP_FIX_RUN_END_H

#include "fix.h"

#include <functional>

namespace LAMMPS_NS {

class FixRunEnd : public Fix {
 public:
  using Fix::Fix;

  // The fix ID_run_end of a compute; deleted with it.
  static void create(class LAMMPS *, const char *compute, std::function<void()> notify);
  static void destroy(class LAMMPS *, const char *compute);

  int setmask() override { return FixConst::POST_RUN; }
  void post_run() override
  {
    if (notify) notify();
  }

 private:
  std::function<void()> notify;
};

}    // namespace LAMMPS_NS

#endif
