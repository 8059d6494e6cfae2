// The three small matrix products on a CPU: tiles of units by samples in vector registers. One thread trains one cell.
#pragma once
#include "cpu_draws.h"
#include "real.h"

namespace fused {

#define FUSED_LAMBDA __attribute__((always_inline))

// Tiles of one kind are a function of their own where a processor has 16 registers for addresses: seen beside other kinds, g++ spills
// some in the innermost loop, and a product of 6 by 2 vectors reaches 40 % of an AVX2 core's peak in place of 90. Vectors of 512 bits
// hide that behind their arithmetic, and would wait for the calls of small ones.
#if defined(__x86_64__) && !defined(__AVX512F__)
#define FUSED_APART __attribute__((noinline))
#else
#define FUSED_APART FUSED_FN
#endif

// Lanes of two vectors by constant places: constants in the source, since compilers do not fold computed ones.
#if defined(__clang__) || __GNUC__ >= 12
#define FUSED_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FUSED_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Mask{__VA_ARGS__})
#endif
template <int... J> struct Places {};
template <int N, int... J> struct PlacesBelow : PlacesBelow<N - 1, N - 1, J...> {};
template <int... J> struct PlacesBelow<0, J...> { typedef Places<J...> Type; };

// VL numbers in a vector, V vectors of samples in a block; a tile is at most TM rows by W vectors, which with what they are made of
// fit in the registers. If ROUNDED, the factors of all products are rounded to TF32 as they are read.
template <class Real_, int VL, int V, int TM, int W, bool ROUNDED = false> struct CpuTiles {
  typedef Real_ Real;
  static constexpr int BLOCK = VL * V;
  static constexpr int PAD = VL;  // rows of weights are padded to whole vectors
  typedef Real Vector __attribute__((vector_size(VL * sizeof(Real)), aligned(sizeof(Real)), may_alias));
  typedef typename Bits<Real>::Int Mask __attribute__((vector_size(VL * sizeof(Real))));

  typedef typename PlacesBelow<VL>::Type Lanes;  // of a vector

  static constexpr int LD = BLOCK;  // numbers from one unit of a block of samples to the next
  static constexpr int SHARES = 1, SHARE_SAMPLES = 1;  // one thread has no use for several
  static constexpr bool ONE_CORE = false;
  static constexpr bool STAGED = false;  // inputs are read where they are
  static constexpr bool IN_PLACE = false;  // `back` sums in several passes, and asks for activations in the last
  static constexpr int AT_ONCE = 1;        // compilers make vectors themselves
  static constexpr bool MEASURED_BESIDE = true, DROPS = true;

  // Draws for VL samples at a time.
  typedef CpuDraws<VL * (int)sizeof(Word)> Draws;
  typedef typename Draws::Words Draw;
  typedef Vector Numbers;
  typedef Mask Whole;
  static constexpr int DRAWS = VL;
  static FUSED_FN auto draw(Word step, Word layer, Word call, const int* samples, const Word* key, bool all_four = true) {
    return Draws::draw(step, layer, call, samples, key, all_four);
  }
  static FUSED_FN Draw kept(const typename Draws::Drawn& drawn, Word below, bool all_four) { return Draws::kept(drawn, below, all_four); }
  static FUSED_FN Word unit_bit(int unit) { return Draws::unit_bit(unit); }
  struct Normals {
    Vector cosine, sine;
  };
  static FUSED_FN Normals normals(Draw radius, Draw turn) {
    if constexpr (sizeof(Real) == sizeof(float)) {
      const auto pair = Draws::singles(radius, turn);
      return {(Vector)pair.cosine, (Vector)pair.sine};
    } else {
      typedef typename Draws::Wide Wide;
      const auto even = Draws::normals((Wide)radius, (Wide)turn), odd = Draws::normals((Wide)radius >> 32, (Wide)turn >> 32);
      return {zipped(even.cosine, odd.cosine, Lanes{}), zipped(even.sine, odd.sine, Lanes{})};
    }
  }
  template <class Double, int... J> static FUSED_FN Vector zipped(Double even, Double odd, Places<J...>) {
    return Vector{(Real)(J % 2 ? odd : even)[J / 2]...};
  }

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

  // What a product takes: of a vector, and of a number that multiplies one.
  static FUSED_FN Vector factor(Vector x) {
    if constexpr (ROUNDED) return (Vector)(((Mask)x + (int)TF32_HALF) & ~(int)TF32_REST);
    else return x;
  }
  static FUSED_FN auto factor_of(Real x) {
    if constexpr (ROUNDED) return factor(Vector{} + x);
    else return x;
  }

  // Of two vectors of a matrix that is being turned over its diagonal, squares of STEP by STEP lanes at a time.
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
    each_vectors<AffineOf<RELU>>(n, O, Affine{out, weight, row, bias, in, in_row, I, nullptr, 1});
  }
  // The same relu'd, scaled up where a unit is kept, else 0; `kept` are bits as of draws.
  static void affine_dropped(Real* out, const Real* weight, int row, const Real* bias, const Real* in, int in_row, int O, int I, int n,
                             const Word* kept, Real scale) {
    each_vectors<AffineOf<true, true>>(n, O, Affine{out, weight, row, bias, in, in_row, I, kept, scale});
  }
  struct Affine {
    Real* out; const Real* weight; int row; const Real* bias; const Real* in; int in_row; int I; const Word* kept; Real scale;
  };
  template <bool RELU, bool DROPPED = false> struct AffineOf {
    template <int T, int N> static FUSED_FN void tile(const Affine& a, int o, int s) {
      Vector acc[T][N];
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] = Vector{} + a.bias[o + q];
      const Real* w = a.weight + o * a.row;
      for (int i = 0; i < a.I; i++) {
        Vector x[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) x[v] = factor(load(a.in + i * a.in_row + s + v * VL));
        FUSED_UNROLL for (int q = 0; q < T; q++) {
          const auto by = factor_of(w[q * a.row + i]);
          FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += by * x[v];
        }
      }
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) {
        Vector z = acc[q][v];
        if (RELU) z = z < 0 ? Vector{} : z;
        if (DROPPED) {
          const int unit = o + q;
          const Draw bits = *(const Draw*)(a.kept + unit / UNITS_PER_CALL * BLOCK + s + v * VL) & unit_bit(unit);
          z = __builtin_convertvector(bits, Mask) != 0 ? z * a.scale : Vector{};
        }
        store(a.out + (o + q) * LD + s + v * VL, z);
      }
    }
  };

  // below[i][s] = sum_o weight[o][i] delta[o][s], zero where RELU and activation[i][s] <= 0. Weights are read down their columns, so
  // those of as many rows at a time as the processor keeps addresses of, with the sums so far in `below`.
  template <bool RELU>
  static void back(Real* below, const Real* weight, int row, const Real* delta, const Real* activation, int O, int I, int n) {
    in_passes<BackOf<RELU>>(Back{below, weight, row, delta, activation, 0, O, false, 1}, I, n);
  }
  // The same where RELU, of activations that were dropped from and scaled.
  static void back_dropped(Real* below, const Real* weight, int row, const Real* delta, const Real* fed, int O, int I, int n, Real scale) {
    in_passes<BackOf<true, true>>(Back{below, weight, row, delta, fed, 0, O, false, scale}, I, n);
  }
  static constexpr int PAGES = 64, PAGE_BYTES = 4096;  // a nearest translation buffer of 64 pages: Zen's and Intel's
  struct Back {
    Real* below; const Real* weight; int row; const Real* delta; const Real* activation; int first, end; bool last;
    Real scale;
  };
  template <class Product> static FUSED_FN void in_passes(Back all, int I, int n) {
    const int fit = (int)(PAGES * PAGE_BYTES / sizeof(Real)) / all.row, step = fit < 1 ? 1 : fit, O = all.end;
    for (int first = 0; first < O; first += step) {
      const int end = O - first > step ? first + step : O;
      each_vectors<Product>(n, I, Back{all.below, all.weight, all.row, all.delta, all.activation, first, end, end == O, all.scale});
    }
  }
  template <bool RELU, bool DROPPED = false> struct BackOf {
    template <int T, int N> static FUSED_FN void tile(const Back& b, int i, int s) {
      Vector acc[T][N];
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++)
        acc[q][v] = b.first ? load(b.below + (i + q) * LD + s + v * VL) : Vector{};
      const Real* w = b.weight + i;
      for (int o = b.first; o < b.end; o++) {
        Vector d[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) d[v] = factor(load(b.delta + o * LD + s + v * VL));
        FUSED_UNROLL for (int q = 0; q < T; q++) {
          const auto by = factor_of(w[o * b.row + q]);
          FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += by * d[v];
        }
      }
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++) {
        Vector z = acc[q][v];
        if (RELU && b.last) z = load(b.activation + (i + q) * LD + s + v * VL) <= 0 ? Vector{} : DROPPED ? z * b.scale : z;
        store(b.below + (i + q) * LD + s + v * VL, z);
      }
    }
  };

  // gradient[o][i] += sum_s delta[o][s] in[i][s] over the first n samples, and likewise sum_s delta[o][s] of the biases.
  // A vector of a row's inputs is summed at a time where these fill most of it: a panel of `in` is turned, with samples as rows, into
  // scratch that stays in the nearest cache, and there are no sums over the lanes of a vector. Else, and of the biases, every number
  // has a vector of its own in `lanes`, of sums over the samples in each place; `add_lanes` adds those up, once for all blocks.
  // Tried at widths 4 to 32, both builds: rows of three quarters of a vector were slower so on AVX2, and 256 sums no faster on AVX-512.
  static constexpr int LANES = VL, MOST_BY_LANES = 128;
  static FUSED_FN bool by_lanes(int O, int I) {
    return O == 1 || (O * I <= MOST_BY_LANES && 2 * I <= VL);
  }
  static constexpr int PANEL = W * VL;
  static constexpr int TURNED = PANEL * BLOCK;  // numbers of scratch for a panel
  static void outer(Real* gradient, int row, Real* lanes, bool fresh, const Real* delta, const Real* in, int in_row, int O, int I, int n,
                    Real* turned) {
    if (O == 1) {
      with_vectors<LanesOf>(1, I, Lanewise{lanes, 1, in, in_row, delta, LD, n, fresh});
      lanes += I * VL;
    } else if (by_lanes(O, I)) {
      const int groups = (I + W - 1) / W;
      for (int g = 0, at = 0; g < groups; g++) {
        const int size = (I - at + groups - g - 1) / (groups - g);
        with_vectors<LanesOf>(size, O, Lanewise{lanes + at * VL, I, delta, LD, in + at * in_row, in_row, n, fresh});
        at += size;
      }
      lanes += O * I * VL;
    } else for (int i = 0; i < I;) {
      const int left = (I - i + VL - 1) / VL, vectors = left < W ? left : W;
      for (int v = 0; v < vectors; v++) turn_samples(turned + v * VL, vectors * VL, in + (i + v * VL) * in_row, in_row, I - i - v * VL, n);
      with_vectors<OuterOf>(vectors, O, Outer{gradient + i, row, delta, turned, n});
      i += vectors * VL;
    }
    rows<Biases, 8>(O, Lanewise{lanes, 1, delta, LD, delta, LD, n, fresh});
  }
  // sums[r][c] += row_r * column_c for each vector of samples; `fresh`: they begin here.
  struct Lanewise {
    Real* sums; int sums_row; const Real* rows; int rows_row; const Real* columns; int columns_row; int n; bool fresh;
  };
  template <int N> struct LanesOf {
    template <int T> static FUSED_FN void tile(const Lanewise& a, int r) {
      Vector acc[T][N];
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++)
        acc[q][v] = a.fresh ? Vector{} : load(a.sums + ((r + q) * a.sums_row + v) * VL);
      for (int s = 0; s < a.n; s += VL) {
        Vector x[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) x[v] = factor(load(a.columns + v * a.columns_row + s));
        FUSED_UNROLL for (int q = 0; q < T; q++) {
          const Vector by = factor(load(a.rows + (r + q) * a.rows_row + s));
          FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += by * x[v];
        }
      }
      FUSED_UNROLL for (int q = 0; q < T; q++) FUSED_UNROLL for (int v = 0; v < N; v++)
        store(a.sums + ((r + q) * a.sums_row + v) * VL, acc[q][v]);
    }
  };
  struct Biases {
    template <int T> static FUSED_FN void tile(const Lanewise& a, int r) {
      Vector acc[T];
      FUSED_UNROLL for (int q = 0; q < T; q++) acc[q] = a.fresh ? Vector{} : load(a.sums + (r + q) * VL);
      for (int s = 0; s < a.n; s += VL)
        FUSED_UNROLL for (int q = 0; q < T; q++) acc[q] += load(a.rows + (r + q) * a.rows_row + s);
      FUSED_UNROLL for (int q = 0; q < T; q++) store(a.sums + (r + q) * VL, acc[q]);
    }
  };
  // gradient[k] = the sum of the lanes of vector k, zero up to a whole vector.
  static void add_lanes(Real* gradient, const Real* lanes, int count) {
    for (int at = 0; at < count; at += VL) {
      Vector r[VL];
      if (at + VL <= count) {
        FUSED_UNROLL for (int k = 0; k < VL; k++) r[k] = load(lanes + (at + k) * VL);
      } else {
        FUSED_UNROLL for (int k = 0; k < VL; k++) r[k] = at + k < count ? load(lanes + (at + k) * VL) : Vector{};
      }
      store(gradient + at, sums(r));
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
      const Real* d = u.delta + o * LD;
      const auto add = [&](Vector (&acc)[T][N], int s) FUSED_LAMBDA {
        Vector x[N];
        FUSED_UNROLL for (int v = 0; v < N; v++) x[v] = load(u.turned + s * N * VL + v * VL);
        FUSED_UNROLL for (int q = 0; q < T; q++) {
          const auto by = factor_of(d[q * LD + s]);
          FUSED_UNROLL for (int v = 0; v < N; v++) acc[q][v] += by * x[v];
        }
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

  // turned[s][k] = in[k][s] as a factor for k < VL, zero for k >= left; `row` numbers from one sample to the next.
  static void turn_samples(Real* turned, int row, const Real* in, int in_row, int left, int n) {
    for (int s = 0; s < n; s += VL) {
      Vector r[VL];
      FUSED_UNROLL for (int k = 0; k < VL; k++) r[k] = k < left ? load(in + k * in_row + s) : Vector{};
      turn(r);
      FUSED_UNROLL for (int k = 0; k < VL; k++) store(turned + (s + k) * row, factor(r[k]));
    }
  }

 private:
  // Rows in tiles of nearly equal size, at most M: first those of `size`, then those of one row less.
  template <class Tile, int M, class Args> static FUSED_FN void rows(int count, const Args& args) {
    const int tiles = (count + M - 1) / M, size = (count + tiles - 1) / tiles, large = count - tiles * (size - 1);
    switch (size) {
      case 8: if constexpr (M >= 8) return both<Tile, 8>(args, large, tiles);
      case 7: if constexpr (M >= 7) return both<Tile, 7>(args, large, tiles);
      case 6: if constexpr (M >= 6) return both<Tile, 6>(args, large, tiles);
      case 5: if constexpr (M >= 5) return both<Tile, 5>(args, large, tiles);
      case 4: return both<Tile, 4>(args, large, tiles);
      case 3: return both<Tile, 3>(args, large, tiles);
      case 2: return both<Tile, 2>(args, large, tiles);
      default: return both<Tile, 1>(args, large, tiles);
    }
  }
  template <class Tile, int T, class Args> static FUSED_FN void both(const Args& args, int large, int tiles) {
    each_tile<Tile, T>(args, 0, large);
    if constexpr (T > 1) if (large < tiles) each_tile<Tile, T - 1>(args, large * T, tiles - large);
  }
  template <class Tile, int T, class Args> static FUSED_APART void each_tile(const Args args, int at, int tiles) {
    for (; tiles--; at += T) Tile::template tile<T>(args, at);
  }
  // Tiles of so many vectors, 1 to W; those of a single one have registers for more rows.
  template <template <int> class Product, class Args> static FUSED_FN void with_vectors(int vectors, int count, const Args& args) {
    if constexpr (W >= 4) if (vectors == 4) return rows<Product<4>, TM>(count, args);
    if constexpr (W >= 3) if (vectors == 3) return rows<Product<3>, TM>(count, args);
    if constexpr (W >= 2) if (vectors == 2) return rows<Product<2>, TM>(count, args);
    rows<Product<1>, 8>(count, args);
  }
  // Groups of vectors of samples, from place `s` to `end`, and rows from `row` on.
  template <class Args> struct From {
    Args args;
    int row, s, end;
  };
  template <class Product> struct Of {
    template <int N> struct Vectors {
      template <int T, class Args> static FUSED_FN void tile(const From<Args>& from, int at, int s) {
        Product::template tile<T, N>(from.args, from.row + at, s);
      }
      static constexpr int STEP = N * VL;
    };
  };
  // All groups in one call: what a tile of narrow layers takes is no more than what a call takes.
  template <class Tile, int T, class Args> static FUSED_APART void each_tile(const From<Args> from, int at, int tiles) {
    for (int s = from.s; s < from.end; s += Tile::STEP)
      for (int t = 0; t < tiles; t++) Tile::template tile<T>(from, at + t * T, s);
  }
  // The block's samples in groups of nearly equal size, at most W vectors; a strip of rows for all of them before the next strip, so
  // that its weights come from memory once. The last strip may be nearly two: a few rows would make small tiles.
  static constexpr int STRIP = 4 * TM;
  template <class Product, class Args> static void each_vectors(int n, int count, const Args& args) {
    const int vectors = (n + VL - 1) / VL, groups = (vectors + W - 1) / W;
    // A single row has registers for more vectors: for those of a whole block.
    if constexpr (V <= 8) if (count == 1 && vectors == V) return Product::template tile<1, V>(args, 0, 0);
    // So many groups of `size`, to place `left`, then those of a vector less.
    const int size = (vectors + groups - 1) / groups, left = (vectors - groups * (size - 1)) * size * VL, all = vectors * VL;
    for (int first = 0, strip; first < count; first += strip) {
      strip = count - first < 2 * STRIP ? count - first : STRIP;
      for (int s = 0, end = left, of = size; s < all; s = end, end = all, of--)
        with_vectors<Of<Product>::template Vectors>(of, strip, From<Args>{args, first, s, end});
    }
  }
};

}  // namespace fused
