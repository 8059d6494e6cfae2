// The three small matrix products for a block of threads that trains one cell together: each thread owns TM x 4 outputs at a time,
// and reads four numbers at once. On a host the very same loops run in a test. If ROUNDED, the factors of all products are rounded to
// TF32 as they are read.
#pragma once
#include "block_threads.h"
#include "real.h"

namespace fused {

template <class Real_, int BLOCK_, int TM, bool ROUNDED = false> struct BlockTiles : BlockThreads {
  typedef Real_ Real;
  static constexpr int BLOCK = BLOCK_;
  static constexpr int PAD = 16;        // rows of weights are padded to so many numbers: four are read at a time
  static constexpr int TURNED = 0;      // numbers of scratch for `outer`
  static constexpr int LD = BLOCK + 4;  // so that threads at neighbouring units meet in different banks of shared memory
  static constexpr int SHARES = 8, SHARE_SAMPLES = 256;
  static constexpr bool STAGED = true;  // inputs are brought on chip first

  static FUSED_FN int lanes() { return threads() < WARP ? 1 : WARP; }
  static FUSED_FN int lane() { return threads() < WARP ? 0 : tid() % WARP; }
  static FUSED_FN int rows() { return threads() / lanes(); }
  static FUSED_FN int row() { return tid() / lanes(); }

  struct alignas(16) Four {
    Real v[4];
  };
  static FUSED_FN Four four(const Real* from) { return *(const Four*)from; }

  // What a product takes of numbers.
  static FUSED_FN Real factor(Real x) {
    if constexpr (ROUNDED) return to_tf32(x);
    else return x;
  }
  static FUSED_FN Four factors(const Real* from) {
    Four x = four(from);
    if (ROUNDED) FUSED_UNROLL for (int k = 0; k < 4; k++) x.v[k] = factor(x.v[k]);
    return x;
  }

  // out[o][s] = bias[o] + sum_i weight[o][i] in[i][s], relu'd if RELU.
  template <bool RELU>
  static FUSED_FN void affine(Real* out, const Real* weight, int row, const Real* bias, const Real* in, int in_row, int O, int I,
                              int n) {
    FUSED_ON_CHIP(out);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(weight);
    FUSED_OFF_CHIP(bias);
    if (O == 1) return single<RELU>(out, weight, bias, in, in_row, I, n);
    const int across = (n + 3) / 4, down = (O + TM - 1) / TM;
    for (int t = tid(); t < across * down; t += threads()) {
      const int o = t / across * TM, s = t % across * 4;
      // Rows beyond the last repeat it and are not stored.
      const Real* w[TM];
      Real acc[TM][4];
      FUSED_UNROLL for (int q = 0; q < TM; q++) {
        const int at = o + q < O ? o + q : O - 1;
        w[q] = weight + at * row;
        FUSED_UNROLL for (int r = 0; r < 4; r++) acc[q][r] = bias[at];
      }
      int i = 0;
      FUSED_ROLLED for (; i + 4 <= I; i += 4) {
        Four x[4];
        FUSED_UNROLL for (int k = 0; k < 4; k++) x[k] = factors(in + (i + k) * in_row + s);
        FUSED_UNROLL for (int q = 0; q < TM; q++) {
          const Four by = factors(w[q] + i);
          FUSED_UNROLL for (int k = 0; k < 4; k++) FUSED_UNROLL for (int r = 0; r < 4; r++) acc[q][r] += by.v[k] * x[k].v[r];
        }
      }
      FUSED_ROLLED for (; i < I; i++) {
        const Four x = factors(in + i * in_row + s);
        FUSED_UNROLL for (int q = 0; q < TM; q++) FUSED_UNROLL for (int r = 0; r < 4; r++) acc[q][r] += factor(w[q][i]) * x.v[r];
      }
      FUSED_UNROLL for (int q = 0; q < TM; q++) if (o + q < O) {
        Four z;
        FUSED_UNROLL for (int r = 0; r < 4; r++) z.v[r] = RELU && acc[q][r] < 0 ? 0 : acc[q][r];
        *(Four*)(out + (o + q) * LD + s) = z;
      }
    }
  }
  // The same for a single row: a thread for each sample.
  template <bool RELU>
  static FUSED_FN void single(Real* out, const Real* weight, const Real* bias, const Real* in, int in_row, int I, int n) {
    for (int s = tid(); s < n; s += threads()) {
      Real acc[4] = {bias[0], 0, 0, 0};
      int i = 0;
      for (; i + 4 <= I; i += 4) FUSED_UNROLL for (int k = 0; k < 4; k++) acc[k] += factor(weight[i + k]) * factor(in[(i + k) * in_row + s]);
      for (; i < I; i++) acc[0] += factor(weight[i]) * factor(in[i * in_row + s]);
      const Real z = (acc[0] + acc[1]) + (acc[2] + acc[3]);
      out[s] = RELU && z < 0 ? 0 : z;
    }
  }

  // below[i][s] = sum_o weight[o][i] delta[o][s], zero where RELU and activation[i][s] <= 0.
  template <bool RELU>
  static FUSED_FN void back(Real* below, const Real* weight, int row, const Real* delta, const Real* activation, int O, int I,
                            int n) {
    FUSED_ON_CHIP(below);
    FUSED_ON_CHIP(delta);
    FUSED_ON_CHIP(activation);
    FUSED_OFF_CHIP(weight);
    const int across = (n + 3) / 4, down = (I + TM - 1) / TM;
    for (int t = tid(); t < across * down; t += threads()) {
      const int i = t / across * TM, s = t % across * 4;
      Real acc[TM][4] = {};
      FUSED_ROLLED for (int o = 0; o < O; o++) {
        const Four d = factors(delta + o * LD + s);
        FUSED_UNROLL for (int quad = 0; quad < TM; quad += 4) {
          const Four w = factors(weight + o * row + i + quad);  // rows are padded
          FUSED_UNROLL for (int k = 0; k < 4; k++)
            FUSED_UNROLL for (int r = 0; r < 4; r++) acc[quad + k][r] += w.v[k] * d.v[r];
        }
      }
      FUSED_UNROLL for (int q = 0; q < TM; q++) if (i + q < I) {
        const Four a = four(activation + (i + q) * LD + s);
        Four z;
        FUSED_UNROLL for (int r = 0; r < 4; r++) z.v[r] = RELU && a.v[r] <= 0 ? 0 : acc[q][r];
        *(Four*)(below + (i + q) * LD + s) = z;
      }
    }
  }

  // gradient[o][i] += sum_s delta[o][s] in[i][s] over the first n samples, and bias[o] += sum_s delta[o][s]. A thread owns columns
  // i, i + across, ...: neighbouring threads read neighbouring rows. No scratch is needed.
  static FUSED_FN void outer(Real* gradient, int row, Real* bias, const Real* delta, const Real* in, int in_row, int O, int I, int n,
                             Real*) {
    FUSED_ON_CHIP(delta);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(gradient);
    FUSED_OFF_CHIP(bias);
    if (O == 1) columns<1, 1>(gradient, row, delta, in, in_row, O, I, n);
    else columns<TM, 4>(gradient, row, delta, in, in_row, O, I, n);
    sum_samples(bias, delta, O, n);
  }
  // to[o] += sum_s from[o][s] over the first n samples.
  static FUSED_FN void sum_samples(Real* to, const Real* from, int O, int n) {
    for (int o = tid(); o < O; o += threads()) {
      Real total = 0;
      int s = 0;
      for (; s + 4 <= n; s += 4) {
        const Four d = four(from + o * LD + s);
        total += (d.v[0] + d.v[1]) + (d.v[2] + d.v[3]);
      }
      for (; s < n; s++) total += from[o * LD + s];
      to[o] += total;
    }
  }
  template <int ROWS, int COLUMNS>
  static FUSED_FN void columns(Real* gradient, int row, const Real* delta, const Real* in, int in_row, int O, int I, int n) {
    const int across = (I + COLUMNS - 1) / COLUMNS, down = (O + ROWS - 1) / ROWS;
    for (int t = tid(); t < across * down; t += threads()) {
      const int o = t / across * ROWS, i = t % across;
      const Real *d[ROWS], *x[COLUMNS];
      FUSED_UNROLL for (int q = 0; q < ROWS; q++) d[q] = delta + (o + q < O ? o + q : O - 1) * LD;
      FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) x[r] = in + (i + r * across < I ? i + r * across : I - 1) * in_row;
      Real acc[ROWS][COLUMNS] = {};
      int s = 0;
      FUSED_ROLLED for (; s + 4 <= n; s += 4) {
        Four by[COLUMNS];
        FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) by[r] = factors(x[r] + s);
        FUSED_UNROLL for (int q = 0; q < ROWS; q++) {
          const Four a = factors(d[q] + s);
          FUSED_UNROLL for (int r = 0; r < COLUMNS; r++)
            FUSED_UNROLL for (int k = 0; k < 4; k++) acc[q][r] += a.v[k] * by[r].v[k];
        }
      }
      FUSED_ROLLED for (; s < n; s++)
        FUSED_UNROLL for (int q = 0; q < ROWS; q++)
          FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) acc[q][r] += factor(d[q][s]) * factor(x[r][s]);
      FUSED_UNROLL for (int q = 0; q < ROWS; q++)
        FUSED_UNROLL for (int r = 0; r < COLUMNS; r++)
          if (o + q < O && i + r * across < I) gradient[(o + q) * row + i + r * across] += acc[q][r];
    }
  }
};

}  // namespace fused
