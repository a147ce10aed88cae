# How the LAMMPS with the KOKKOS package of LAMMPS_BUILD_DIR was compiled.
#
# A plugin meets the class layouts, the Kokkos and the MPI of the LAMMPS that loads it only where it
# is compiled as that was: with its compiler, definitions, include folders and flags, which its build
# folder tells. Included before project(), whose compiler it chooses. Sets LAMMPS_INCLUDE_DIRS,
# LAMMPS_DEFINITIONS, LAMMPS_CXX_FLAGS and what LammpsSources sets.

include(${CMAKE_CURRENT_LIST_DIR}/LammpsSources.cmake)

set(LAMMPS_BUILD_DIR "" CACHE PATH "Folder that LAMMPS was compiled in")
if(NOT LAMMPS_BUILD_DIR)
  lbpsi_stop("where was LAMMPS compiled? Give -D LAMMPS_BUILD_DIR=<folder that its cmake made>")
endif()
get_filename_component(_build "${LAMMPS_BUILD_DIR}" ABSOLUTE)
set(_cache "${_build}/CMakeCache.txt")
if(NOT EXISTS "${_cache}")
  lbpsi_stop("${LAMMPS_BUILD_DIR} holds no CMakeCache.txt; compile LAMMPS with CMake and give that folder")
endif()

function(lammps_setting name out)
  file(STRINGS "${_cache}" line REGEX "^${name}:[A-Z]+=" LIMIT_COUNT 1)
  string(REGEX REPLACE "^[^=]*=" "" value "${line}")
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

lammps_setting(CMAKE_HOME_DIRECTORY _home)
if(NOT _home)
  lbpsi_stop("${LAMMPS_BUILD_DIR} is no build of LAMMPS but a part of one; give its top folder")
endif()
get_filename_component(_home "${_home}" REALPATH)
get_filename_component(_expected "${LAMMPS_TREE}/cmake" REALPATH)
if(NOT _home STREQUAL _expected)
  lbpsi_stop("${LAMMPS_BUILD_DIR} is a build of ${_home}, not of ${_expected}; give a build of LAMMPS_SOURCE_DIR")
endif()
foreach(_package KOKKOS PLUGIN)
  lammps_setting(PKG_${_package} _with)
  if(NOT _with)
    lbpsi_stop("the LAMMPS in ${LAMMPS_BUILD_DIR} is without the package ${_package}; configure it with -D PKG_${_package}=on")
  endif()
endforeach()
lammps_setting(BUILD_SHARED_LIBS _shared)
if(NOT _shared)
  lbpsi_stop("Kokkos is inside a static LAMMPS, where no plugin can share it; configure LAMMPS with -D BUILD_SHARED_LIBS=on, or put the styles into its tree: -D LBPSI_KOKKOS=IN_TREE, then cmake --install")
endif()

# --- Definitions, include folders and flags of the target lammps ---------------------------------

if(EXISTS "${_build}/CMakeFiles/lammps.dir/flags.make")
  file(READ "${_build}/CMakeFiles/lammps.dir/flags.make" _rules)
  set(_prefix "CXX_")
elseif(EXISTS "${_build}/build.ninja")
  file(READ "${_build}/build.ninja" _rules)
  string(REGEX MATCH "\nbuild CMakeFiles/lammps\\.dir/[^\n]*/lammps\\.cpp\\.o: [^\n]*\n(  [^\n]*\n)+"
         _rules "${_rules}")
  set(_prefix "  ")
else()
  lbpsi_stop("${LAMMPS_BUILD_DIR} has neither flags.make nor build.ninja; use CMake's generator Unix Makefiles or Ninja for LAMMPS")
endif()

function(lammps_rule name out)
  string(REGEX MATCH "(^|\n)${_prefix}${name} =([^\n]*)" found "${_rules}")
  separate_arguments(words UNIX_COMMAND "${CMAKE_MATCH_2}")
  set(${out} "${words}" PARENT_SCOPE)
endfunction()

lammps_rule(DEFINES _definitions)
lammps_rule(INCLUDES _includes)
lammps_rule(FLAGS _flags)
if(NOT _definitions OR NOT _includes)
  lbpsi_stop("the rules of ${LAMMPS_BUILD_DIR} do not tell how lammps is compiled; configure LAMMPS afresh")
endif()
list(REMOVE_ITEM _definitions -Dlammps_EXPORTS)
list(REMOVE_ITEM _includes -isystem)
set(LAMMPS_DEFINITIONS ${_definitions})
list(TRANSFORM _includes REPLACE "^-I" "" OUTPUT_VARIABLE LAMMPS_INCLUDE_DIRS)
list(JOIN _flags " " LAMMPS_CXX_FLAGS)

# --- Compiler ------------------------------------------------------------------------------------

lammps_setting(CMAKE_CXX_COMPILER _compiler)
if(NOT CMAKE_CXX_COMPILER)
  # Kokkos has a launcher that puts nvcc in the place of the compiler that CMake knows
  if("${_flags}" MATCHES "-extended-lambda" AND NOT _compiler MATCHES "nvcc_wrapper")
    lbpsi_stop("Kokkos started nvcc for ${_compiler}; give -D CMAKE_CXX_COMPILER=<bin/nvcc_wrapper of that Kokkos>")
  endif()
  set(CMAKE_CXX_COMPILER "${_compiler}" CACHE FILEPATH "C++ compiler, as LAMMPS's")
endif()

message(STATUS "LAMMPS ${LAMMPS_VERSION} with KOKKOS: ${_build}")
