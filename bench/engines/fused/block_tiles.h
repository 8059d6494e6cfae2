// The three small matrix products for a block of threads that trains one cell together: each thread owns TM x TN outputs at a
// time. On a host the block has one thread, and the very same loops run in a test.
#pragma once
#include "real.h"

namespace fused {

template <class Real_, int BLOCK_, int TM, int TN> struct BlockTiles {
  typedef Real_ Real;
  static constexpr int BLOCK = BLOCK_;
  static constexpr int PAD = 16;  // as of CpuTiles: arrays of parameters look alike
  static constexpr int TURNED = 0;  // numbers of scratch for `outer`

#ifdef __CUDA_ARCH__
  static FUSED_FN int tid() { return threadIdx.x; }
  static FUSED_FN int threads() { return blockDim.x; }
  static FUSED_FN void sync() { __syncthreads(); }
#else
  static FUSED_FN int tid() { return 0; }
  static FUSED_FN int threads() { return 1; }
  static FUSED_FN void sync() {}
#endif

  // out[o][s] = bias[o] + sum_i weight[o][i] in[i][s], relu'd if RELU.
  template <bool RELU>
  static FUSED_FN void affine(Real* out, const Real* weight, int row, const Real* bias, const Real* in, int in_row, int O, int I,
                              int n) {
    const int across = (n + TN - 1) / TN, down = (O + TM - 1) / TM;
    for (int t = tid(); t < across * down; t += threads()) {
      const int o = t / across * TM, s = t % across * TN;
      Real acc[TM][TN];
      for (int q = 0; q < TM; q++)
        for (int r = 0; r < TN; r++) acc[q][r] = o + q < O ? bias[o + q] : 0;
      for (int i = 0; i < I; i++)
        for (int q = 0; q < TM; q++) {
          const Real w = o + q < O ? weight[(o + q) * row + i] : 0;
          for (int r = 0; r < TN; r++) acc[q][r] += w * in[i * in_row + s + r];
        }
      for (int q = 0; q < TM; q++)
        for (int r = 0; r < TN; r++)
          if (o + q < O) out[(o + q) * BLOCK + s + r] = RELU && acc[q][r] < 0 ? 0 : acc[q][r];
    }
  }

  // below[i][s] = sum_o weight[o][i] delta[o][s], zero where RELU and activation[i][s] <= 0.
  template <bool RELU>
  static FUSED_FN void back(Real* below, const Real* weight, int row, const Real* delta, const Real* activation, int O, int I,
                            int n) {
    const int across = (n + TN - 1) / TN, down = (I + TM - 1) / TM;
    for (int t = tid(); t < across * down; t += threads()) {
      const int i = t / across * TM, s = t % across * TN;
      Real acc[TM][TN] = {};
      for (int o = 0; o < O; o++)
        for (int q = 0; q < TM; q++) {
          const Real w = i + q < I ? weight[o * row + i + q] : 0;
          for (int r = 0; r < TN; r++) acc[q][r] += w * delta[o * BLOCK + s + r];
        }
      for (int q = 0; q < TM; q++)
        for (int r = 0; r < TN; r++) {
          const int at = (i + q) * BLOCK + s + r;
          if (i + q < I) below[at] = RELU && activation[at] <= 0 ? 0 : acc[q][r];
        }
    }
  }

  // gradient[o][i] += sum_s delta[o][s] in[i][s] over the first n samples, and bias[o] += sum_s delta[o][s]. A thread owns columns
  // i, i + across, ...: neighbouring threads read neighbouring rows. No scratch is needed.
  static FUSED_FN void outer(Real* gradient, int row, Real* bias, const Real* delta, const Real* in, int in_row, int O, int I, int n,
                             Real*) {
    const int across = (I + TN - 1) / TN, down = (O + TM - 1) / TM;
    for (int t = tid(); t < across * down; t += threads()) {
      const int o = t / across * TM, i = t % across;
      Real acc[TM][TN] = {};
      for (int s = 0; s < n; s++)
        for (int q = 0; q < TM; q++) {
          const Real d = o + q < O ? delta[(o + q) * BLOCK + s] : 0;
          for (int r = 0; r < TN; r++) acc[q][r] += i + r * across < I ? d * in[(i + r * across) * in_row + s] : 0;
        }
      for (int q = 0; q < TM; q++)
        for (int r = 0; r < TN; r++)
          if (o + q < O && i + r * across < I) gradient[(o + q) * row + i + r * across] += acc[q][r];
    }
    for (int o = tid(); o < O; o += threads()) {
      Real total = 0;
      for (int s = 0; s < n; s++) total += delta[o * BLOCK + s];
      bias[o] += total;
    }
  }
};

}  // namespace fused
