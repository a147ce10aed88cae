# The LAMMPS source tree that the user names. Sets LAMMPS_TREE, LAMMPS_RELEASE (20250204) and
# LAMMPS_VERSION ("4 Feb 2025").

# A leading blank keeps CMake from breaking the line.
function(lbpsi_stop text)
  message(FATAL_ERROR " LBPSI_KOKKOS: ${text}")
endfunction()

set(LAMMPS_SOURCE_DIR "" CACHE PATH "LAMMPS source tree")
if(NOT LAMMPS_SOURCE_DIR)
  lbpsi_stop("which LAMMPS? Give -D LAMMPS_SOURCE_DIR=<its source tree>")
endif()
get_filename_component(LAMMPS_TREE "${LAMMPS_SOURCE_DIR}" ABSOLUTE)
# LAMMPS's own modules mean its folder src by this name
if(EXISTS "${LAMMPS_TREE}/version.h" AND NOT EXISTS "${LAMMPS_TREE}/src")
  get_filename_component(LAMMPS_TREE "${LAMMPS_TREE}" DIRECTORY)
endif()
if(NOT EXISTS "${LAMMPS_TREE}/src/version.h" OR NOT EXISTS "${LAMMPS_TREE}/src/lammps.h")
  lbpsi_stop("${LAMMPS_SOURCE_DIR} is no LAMMPS source tree: src/version.h and src/lammps.h were expected")
endif()

file(STRINGS "${LAMMPS_TREE}/src/version.h" _line REGEX "LAMMPS_VERSION" LIMIT_COUNT 1)
if(NOT _line MATCHES "\"(([0-9]+) ([A-Z][a-z][a-z])[a-z]* (20[0-9][0-9]))\"")
  lbpsi_stop("${LAMMPS_TREE}/src/version.h says ${_line}; a date as \"4 Feb 2025\" was expected")
endif()
set(LAMMPS_VERSION "${CMAKE_MATCH_1}")
math(EXPR LAMMPS_RELEASE "${CMAKE_MATCH_4} * 10000 + ${CMAKE_MATCH_2}")
foreach(_month Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)
  math(EXPR LAMMPS_RELEASE "${LAMMPS_RELEASE} + 100")
  if(_month STREQUAL CMAKE_MATCH_3)
    break()
  endif()
endforeach()
