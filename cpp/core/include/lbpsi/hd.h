// Functions that a GPU needs too are marked LBPSI_HD: plain inline here, host and device where a
// GPU compiler reads them.

#ifndef LBPSI_HD_H
#define LBPSI_HD_H

#if defined(__CUDACC__) || defined(__HIPCC__)
#define LBPSI_HD __host__ __device__ inline
#else
#define LBPSI_HD inline
#endif

#endif
