// Functions that a GPU needs too are marked LBPSI_HD: plain inline here, host and device where a
// GPU compiler reads them.
//
// Every formula of one atom is such a function, over plain pointers and structs: the styles on the
// host and those on a device store, loop and tell other ranks, and call the same. The headers that
// hold them (chemistry_table, bond_rules, motif_rules, kabsch, unit, matrix, displacement,
// fingerprint) include no containers and no algorithms, and these functions neither allocate nor
// throw nor call what is constexpr in the standard library, which nvcc takes for the host's.

#ifndef LBPSI_HD_H
#define LBPSI_HD_H

#if defined(__CUDACC__) || defined(__HIPCC__)
#define LBPSI_HD __host__ __device__ inline
#else
#define LBPSI_HD inline
#endif

#endif
