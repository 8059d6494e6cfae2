// The three small matrix products on a CPU: tiles of units by samples in vector registers. One thread trains one cell.
#pragma once
#include "real.h"

namespace fused {

// Lanes of two vectors by constant places: constants in the source, since compilers do not fold computed ones.
#if defined(__clang__) || __GNUC__ >= 12
#define FUSED_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FUSED_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Mask{__VA_ARGS__})
#endif
template <int... J> struct Places {};
template <int N, int... J> struct PlacesBelow : PlacesBelow<N - 1, N - 1, J...> {};
template <int... J> struct PlacesBelow<0, J...> { typedef Places<J...> Type; };

// VL numbers in a vector, V vectors of samples in a block, TM rows in a tile.
template <class Real_, int VL, int V, int TM> struct CpuTiles {
  typedef Real_ Real;
  static constexpr int BLOCK = VL * V;
  static constexpr int PAD = 16;  // rows of weights are padded to this many numbers: a cache line of float
  typedef Real Vector __attribute__((vector_size(VL * sizeof(Real)), aligned(sizeof(Real)), may_alias));
  typedef typename Bits<Real>::Int Mask __attribute__((vector_size(VL * sizeof(Real))));

  static constexpr int LD = BLOCK;  // numbers from one unit of a block of samples to the next
  static constexpr int SHARES = 1, SHARE_SAMPLES = 1;  // one thread has no use for several
  static constexpr bool ONE_CORE = false;
  static constexpr bool STAGED = false;  // inputs are read where they are

  static FUSED_FN int tid() { return 0; }
  static FUSED_FN int threads() { return 1; }
  static FUSED_FN int row() { return 0; }
  static FUSED_FN int rows() { return 1; }
  static FUSED_FN int lane() { return 0; }
  static FUSED_FN int lanes() { return 1; }
  static FUSED_FN int rank() { return 0; }
  static FUSED_FN int team() { return 1; }
  static FUSED_FN void sync() {}
  static FUSED_FN void team_sync() {}
  static FUSED_FN Vector load(const Real* from) { return *(const Vector*)from; }
  static FUSED_FN void store(Real* to, Vector x) { *(Vector*)to = x; }

  // Of two vectors of a matrix that is being turned over its diagonal, squares of STEP by STEP lanes at a time.
  typedef typename PlacesBelow<VL>::Type Lanes;
  template <int STEP, int... J> static FUSED_FN Vector low(Vector a, Vector b, Places<J...>) {
    return FUSED_SHUFFLE(a, b, (J & STEP ? VL + J - STEP : J)...);
  }
  template <int STEP, int... J> static FUSED_FN Vector high(Vector a, Vector b, Places<J...>) {
    return FUSED_SHUFFLE(a, b, (J & STEP ? VL + J : J + STEP)...);
  }
  template <int STEP = 1> static FUSED_FN void turn(Vector (&r)[VL]) {
    if constexpr (STEP < VL) {
      FUSED_UNROLL for (int k = 0; k < VL; k++) if (!(k & STEP)) {
        const Vector a = r[k], b = r[k + STEP];
        r[k] = low<STEP>(a, b, Lanes{});
        r[k + STEP] = high<STEP>(a, b, Lanes{});
      }
      turn<2 * STEP>(r);
    }
  }
  // Lane k of the result is the sum of r[k], pairwise, in an order of its own that is always the same.
  template <int STEP = 1> static FUSED_FN Vector sums(Vector (&r)[VL]) {
    if constexpr (STEP < VL) {
      FUSED_UNROLL for (int k = 0; k < VL; k += 2 * STEP)
        r[k] = low<STEP>(r[k], r[k + STEP], Lanes{}) + high<STEP>(r[k], r[k + STEP], Lanes{});
      return sums<2 * STEP>(r);
    } else {
      return r[0];
    }
  }

  // out[o][s] = bias[o] + sum_i weight[o][i] in[i][s], relu'd if RELU.
  template <bool RELU>
  static void affine(Real* out, const Real* weight, int row, const Real* bias, const Real* in, int in_row, int O, int I, int n) {
    each_vectors<AffineOf<RELU>>(n, O, Affine{out, weight, row, bias, in, in_row, I});
  }
  struct Affine {
    Real* out; const Real* weight; int row; const Real* bias; const Real* in; int in_row; int I;
  };
  template <bool RELU> struct AffineOf {
    template <int T, int N> static FUSED_FN void tile(const Affine& a, int o) {
      Vector acc[T][N];
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] = Vector{} + a.bias[o + q];
      const Real* w = a.weight + o * a.row;
      for (int i = 0; i < a.I; i++) {
        Vector x[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) x[v] = load(a.in + i * a.in_row + v * VL);
        FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += w[q * a.row + i] * x[v];
      }
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) {
        const Vector z = acc[q][v];
        store(a.out + (o + q) * BLOCK + v * VL, RELU ? (z < 0 ? Vector{} : z) : z);
      }
    }
  };

  // below[i][s] = sum_o weight[o][i] delta[o][s], zero where RELU and activation[i][s] <= 0.
  template <bool RELU>
  static void back(Real* below, const Real* weight, int row, const Real* delta, const Real* activation, int O, int I, int n) {
    each_vectors<BackOf<RELU>>(n, I, Back{below, weight, row, delta, activation, O});
  }
  struct Back {
    Real* below; const Real* weight; int row; const Real* delta; const Real* activation; int O;
  };
  template <bool RELU> struct BackOf {
    template <int T, int N> static FUSED_FN void tile(const Back& b, int i) {
      Vector acc[T][N];
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] = Vector{};
      const Real* w = b.weight + i;
      for (int o = 0; o < b.O; o++) {
        Vector d[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) d[v] = load(b.delta + o * BLOCK + v * VL);
        FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += w[o * b.row + q] * d[v];
      }
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) {
        Vector z = acc[q][v];
        if (RELU) z = load(b.activation + (i + q) * BLOCK + v * VL) <= 0 ? Vector{} : z;
        store(b.below + (i + q) * BLOCK + v * VL, z);
      }
    }
  };

  // gradient[o][i] += sum_s delta[o][s] in[i][s] over the first n samples, and bias[o] += sum_s delta[o][s]. A panel of `in` at a
  // time is turned, with samples as rows, into scratch that stays in the nearest cache: sums over samples need no horizontal sums.
  static constexpr int PANEL = 4 * VL;
  static constexpr int TURNED = PANEL * BLOCK;  // numbers of scratch for a panel
  static void outer(Real* gradient, int row, Real* bias, const Real* delta, const Real* in, int in_row, int O, int I, int n,
                    Real* turned) {
    if (O == 1) readout(gradient, delta, in, in_row, I, n);
    else for (int i = 0; i < I;) {
      const int left = (I - i + VL - 1) / VL, vectors = left < 4 ? left : 4;
      for (int v = 0; v < vectors; v++) turn_samples(turned + v * VL, vectors * VL, in + (i + v * VL) * in_row, in_row, I - i - v * VL, n);
      const Outer at{gradient + i, row, delta, turned, n};
      switch (vectors) {
        case 4: rows<OuterOf<4>, 6>(O, at); break;
        case 3: rows<OuterOf<3>, 6>(O, at); break;
        case 2: rows<OuterOf<2>, TM>(O, at); break;
        default: rows<OuterOf<1>, 8>(O, at);
      }
      i += vectors * VL;
    }
    for (int o = 0; o < O; o += VL) {
      Vector totals[VL];
      FUSED_UNROLL for (int k = 0; k < VL; k++) {
        totals[k] = Vector{};
        if (o + k < O) for (int s = 0; s < n; s += VL) totals[k] += load(delta + (o + k) * BLOCK + s);
      }
      store(bias + o, load(bias + o) + sums(totals));
    }
  }
  // The same for a single row: fewer products than turning its inputs would take.
  static void readout(Real* gradient, const Real* delta, const Real* in, int in_row, int I, int n) {
    for (int i = 0; i < I; i += VL) {
      Vector totals[VL];
      FUSED_UNROLL for (int k = 0; k < VL; k++) {
        totals[k] = Vector{};
        if (i + k < I) for (int s = 0; s < n; s += VL) totals[k] += load(delta + s) * load(in + (i + k) * in_row + s);
      }
      store(gradient + i, load(gradient + i) + sums(totals));
    }
  }
  struct Outer {
    Real* gradient; int row; const Real* delta; const Real* turned; int n;
  };
  template <int N> struct OuterOf {
    template <int T> static FUSED_FN void tile(const Outer& u, int o) {
      // Where a tile has few sums, each is split over samples, so that one does not wait for the last.
      constexpr int SPLIT = T * N >= 8 ? 1 : T * N >= 4 ? 2 : 4;
      Vector parts[SPLIT][T][N];
      FUSED_UNROLL for (int k = 0; k < SPLIT; k++) FUSED_UNROLL for (int q = 0; q < T; q++)
        FUSED_UNROLL for (int v = 0; v < N; v++) parts[k][q][v] = Vector{};
      const Real* d = u.delta + o * BLOCK;
      const auto add = [&](Vector (&acc)[T][N], int s) __attribute__((always_inline)) {
        Vector x[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) x[v] = load(u.turned + s * N * VL + v * VL);
        FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += d[q * BLOCK + s] * x[v];
      };
      int s = 0;
      for (; s + SPLIT <= u.n; s += SPLIT) FUSED_UNROLL for (int k = 0; k < SPLIT; k++) add(parts[k], s + k);
      for (; s < u.n; s++) add(parts[0], s);
      Vector(&acc)[T][N] = parts[0];
      FUSED_UNROLL for (int k = 1; k < SPLIT; k++) FUSED_UNROLL for (int q = 0; q < T; q++)
        FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += parts[k][q][v];
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) {
        Real* g = u.gradient + (o + q) * u.row + v * VL;
        store(g, load(g) + acc[q][v]);
      }
    }
  };

  // turned[s][k] = in[k][s] for k < VL, zero for k >= left; `row` numbers from one sample to the next.
  static void turn_samples(Real* turned, int row, const Real* in, int in_row, int left, int n) {
    for (int s = 0; s < n; s += VL) {
      Vector r[VL];
      FUSED_UNROLL for (int k = 0; k < VL; k++) r[k] = k < left ? load(in + k * in_row + s) : Vector{};
      turn(r);
      FUSED_UNROLL for (int k = 0; k < VL; k++) store(turned + (s + k) * row, r[k]);
    }
  }

 private:
  // Rows in tiles of nearly equal size, at most M.
  template <class Tile, int M, class Args> static FUSED_FN void rows(int count, const Args& args) {
    const int tiles = (count + M - 1) / M;
    for (int t = 0, at = 0; t < tiles; t++) {
      const int size = (count - at + tiles - t - 1) / (tiles - t);
      switch (size) {
        case 8: if constexpr (M >= 8) Tile::template tile<8>(args, at); break;
        case 7: if constexpr (M >= 7) Tile::template tile<7>(args, at); break;
        case 6: if constexpr (M >= 6) Tile::template tile<6>(args, at); break;
        case 5: if constexpr (M >= 5) Tile::template tile<5>(args, at); break;
        case 4: Tile::template tile<4>(args, at); break;
        case 3: Tile::template tile<3>(args, at); break;
        case 2: Tile::template tile<2>(args, at); break;
        default: Tile::template tile<1>(args, at);
      }
      at += size;
    }
  }
  template <class Product, int N> struct WithVectors {
    template <int T, class Args> static FUSED_FN void tile(const Args& args, int at) { Product::template tile<T, N>(args, at); }
  };
  // As many vectors as the block's samples need.
  template <class Product, class Args> static void each_vectors(int n, int count, const Args& args) {
    const int vectors = (n + VL - 1) / VL;
    if constexpr (V >= 4) if (vectors == 4) return rows<WithVectors<Product, 4>, TM>(count, args);
    if constexpr (V >= 3) if (vectors == 3) return rows<WithVectors<Product, 3>, TM>(count, args);
    if constexpr (V >= 2) if (vectors == 2) return rows<WithVectors<Product, 2>, TM>(count, args);
    rows<WithVectors<Product, 1>, TM>(count, args);
  }
};

}  // namespace fused
