// The three small matrix products for a block of threads that trains one cell together: each thread owns TM x 4 outputs at a time,
// and reads four numbers at once. On a host the very same loops run in a test. If ROUNDED, the factors of all products are rounded to
// TF32 as they are read.
#pragma once
#include "block_threads.h"
#include "box_muller.h"
#include "philox.h"

namespace fused {

template <class Real_, int BLOCK_, int TM, bool ROUNDED = false> struct BlockTiles : BlockThreads {
  typedef Real_ Real;
  static constexpr int BLOCK = BLOCK_;
  static constexpr int PAD = 16;        // rows of weights are padded to so many numbers: four are read at a time
  static constexpr int TURNED = 0;      // numbers of scratch for `outer`
  static constexpr int LANES = 0;       // which adds to gradients itself
  static FUSED_FN bool by_lanes(int, int) { return false; }
  static constexpr int LD = BLOCK + 4;  // so that threads at neighbouring units meet in different banks of shared memory
  static constexpr int AT_ONCE = 4;     // numbers that a thread takes of an array at a time
  static constexpr bool IN_PLACE = true;
  static constexpr bool MEASURED_BESIDE = false, DROPS = false;
  static constexpr int SHARES = 8, SHARE_SAMPLES = 256;
  static constexpr bool STAGED = true;  // inputs are brought on chip first: there all rows are LD apart

  static FUSED_FN int lanes() { return threads() < WARP ? 1 : WARP; }
  static FUSED_FN int lane() { return threads() < WARP ? 0 : tid() % WARP; }
  static FUSED_FN int rows() { return threads() / lanes(); }
  static FUSED_FN int row() { return tid() / lanes(); }

  // Draws for one sample at a time.
  typedef Word Draw;
  typedef Real Numbers;
  typedef typename Bits<Real>::Int Whole;
  static constexpr int DRAWS = 1;
  static FUSED_FN Words draw(Word step, Word layer, Word call, const int* samples, const Word* key, bool = true) {
    return philox(step, layer, call, (Word)*samples, key[0], key[1]);
  }
  // A bit for each unit that a call keeps, in order.
  static FUSED_FN Word kept(const Words& drawn, Word below, bool) {
    Word bits = 0;
    for (int k = 0; k < 4; k++) {
      bits |= (drawn.w[k] & 0xFFFFu) >= below ? 1u << (2 * k) : 0;
      bits |= (drawn.w[k] >> 16) >= below ? 2u << (2 * k) : 0;
    }
    return bits;
  }
  static FUSED_FN Word unit_bit(int unit) { return 1u << (unit % UNITS_PER_CALL); }
  struct Normals {
    Real cosine, sine;
  };
  static FUSED_FN Normals normals(Word radius, Word turn) {
    const double length = root(-2 * log_<double, long long>(uniform(radius)));
    const auto turned = turn_by<double, long long>(uniform(turn));
    return {(Real)(length * turned.cosine), (Real)(length * turned.sine)};
  }

  struct alignas(16) Four {
    Real v[4];
  };
  static FUSED_FN Four four(const Real* from) { return *(const Four*)from; }

  // What a product takes of numbers.
  static FUSED_FN Real factor(Real x) {
    if constexpr (ROUNDED) return to_tf32(x);
    else return x;
  }
  static FUSED_FN Four factors(Four x) {
    if (ROUNDED) FUSED_UNROLL for (int k = 0; k < 4; k++) x.v[k] = factor(x.v[k]);
    return x;
  }
  static FUSED_FN Four factors(const Real* from) { return factors(four(from)); }

  static constexpr int SECTOR = 32 / (int)sizeof(Real);  // numbers that the nearest cache takes in at once

  // Tiles lie in rows over samples or columns. Neighbouring threads have neighbouring rows of one place, and so read the same numbers
  // there, which takes half the time; the next two have the next place.
  struct Tile {
    int row, place;
  };
  static FUSED_FN Tile tile_of(int t, int across) { return {t / (2 * across) * 2 + t % 2, t % (2 * across) / 2}; }
  static FUSED_FN int tiles(int down, int across) { return (down + 1) / 2 * 2 * across; }

  // out[o][s] = bias[o] + sum_i weight[o][i] in[i][s], relu'd if RELU.
  template <bool RELU>
  static FUSED_FN void affine(Real* out, const Real* weight, int row, const Real* bias, const Real* in, int, int O, int I,
                              int n) {
    if (O == 1) single(out, weight, bias, in, I, n, RELU);
    else affine_tiles(out, weight, row, bias, in, O, I, n, RELU);
  }
  static FUSED_CALL void affine_tiles(Real* out, const Real* weight, int row, const Real* bias, const Real* in, int O, int I, int n,
                                      bool relu) {
    FUSED_ON_CHIP(out);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(weight);
    FUSED_OFF_CHIP(bias);
    const int across = (n + 3) / 4, count = tiles((O + TM - 1) / TM, across);
    for (int t = tid(); t < count; t += threads()) {
      const Tile tile = tile_of(t, across);
      const int o = tile.row * TM, s = tile.place * 4;
      if (o >= O) continue;
      // Rows beyond the last repeat it and are not stored.
      const Real* w[TM];
      Real acc[TM][4];
      FUSED_UNROLL for (int q = 0; q < TM; q++) {
        const int at = o + q < O ? o + q : O - 1;
        w[q] = weight + at * row;
        FUSED_UNROLL for (int r = 0; r < 4; r++) acc[q][r] = bias[at];
      }
      struct Weights {
        Four of[TM];
      };
      each_step<Weights>(
          I / 4, [&](Weights& next, int k) { FUSED_UNROLL for (int q = 0; q < TM; q++) next.of[q] = four(w[q] + 4 * k); },
          [&](const Weights& weights, int k) {
            Four x[4];
            FUSED_UNROLL for (int j = 0; j < 4; j++) x[j] = factors(in + (4 * k + j) * LD + s);
            FUSED_UNROLL for (int q = 0; q < TM; q++) {
              const Four by = factors(weights.of[q]);
              FUSED_UNROLL for (int j = 0; j < 4; j++) FUSED_UNROLL for (int r = 0; r < 4; r++) acc[q][r] += by.v[j] * x[j].v[r];
            }
          },
          [&](int k) {
            if (4 * k % SECTOR == 0) FUSED_UNROLL for (int q = 0; q < TM; q++) soon(w[q] + 4 * k);
          });
      FUSED_ROLLED for (int i = I / 4 * 4; i < I; i++) {
        const Four x = factors(in + i * LD + s);
        FUSED_UNROLL for (int q = 0; q < TM; q++) FUSED_UNROLL for (int r = 0; r < 4; r++) acc[q][r] += factor(w[q][i]) * x.v[r];
      }
      FUSED_UNROLL for (int q = 0; q < TM; q++) if (o + q < O) {
        Four z;
        FUSED_UNROLL for (int r = 0; r < 4; r++) z.v[r] = relu && acc[q][r] < 0 ? 0 : acc[q][r];
        *(Four*)(out + (o + q) * LD + s) = z;
      }
    }
  }

  // Lanes of a warp may split a sum: lane l has part l / slots of sum l % slots, where slots are the lanes by the parts, a power of two.
  // How many parts is a function of the sum's sizes alone, and they are added as a tree: the same bits whatever the threads.
  //
  // Adds N sums of each lane over their parts. A lane is left with N by the parts of them, at least one, as its first numbers;
  // they are those from `first` on.
  template <int N> static FUSED_FN void add_parts(Held<N, Real>& sums, Held<1, int>& first, int parts) {
    FUSED_LANES(h) first.v[h][0] = 0;
    add_halves<N / 2, 0>(sums, first, WARP / parts);
  }
  template <int HALF, int LEVEL, int N> static FUSED_FN void add_halves(Held<N, Real>& sums, Held<1, int>& first, int bit) {
    if constexpr ((1 << LEVEL) < WARP) {
      if (bit >= WARP) return;
      constexpr int LEFT = HALF ? HALF : 1;
      Held<LEFT, Real> given;
      FUSED_LANES(h) {
        const bool upper = HALF && lane_of(h) & bit;
        first.v[h][0] += upper ? HALF : 0;
        FUSED_UNROLL for (int k = 0; k < LEFT; k++) {
          given.v[h][k] = upper ? sums.v[h][k] : sums.v[h][k + HALF];
          sums.v[h][k] = upper ? sums.v[h][k + HALF] : sums.v[h][k];
        }
      }
      trade(given, bit);
      FUSED_LANES(h) FUSED_UNROLL for (int k = 0; k < LEFT; k++) sums.v[h][k] += given.v[h][k];
      add_halves<HALF / 2, LEVEL + 1>(sums, first, 2 * bit);
    }
  }
  // The largest power of two that is not above x, at most `most`.
  static FUSED_FN int power_below(int x, int most) {
    int power = 1;
    while (2 * power <= x && power < most) power *= 2;
    return power;
  }
  // Parts of the sums of which there is one for each unit of a layer: as many as give work to threads that have a tile each.
  static constexpr int PARTS = BLOCK >= 4 * TM ? BLOCK / (4 * TM) : 1;

  // `affine` for a single row: a sample's sum over inputs in parts.
  static FUSED_CALL void single(Real* out, const Real* weight, const Real* bias, const Real* in, int I, int n, bool relu) {
    FUSED_ON_CHIP(out);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(weight);
    FUSED_OFF_CHIP(bias);
    const int parts = power_below(I / (4 * TM), WARP), slots = WARP / parts;
    for (int w = warp(); w * slots < n; w += warps()) {
      sync_warp();
      Held<1, Real> sums;
      FUSED_LANES(h) {
        const int part = lane_of(h) / slots, at = w * slots + lane_of(h) % slots, s = at < n ? at : n - 1;
        Real acc[4] = {part ? 0 : bias[0], 0, 0, 0};
        for (int i = 4 * part; i + 4 <= I; i += 4 * parts) {
          const Four by = factors(weight + i);
          FUSED_UNROLL for (int k = 0; k < 4; k++) acc[k] += by.v[k] * factor(in[(i + k) * LD + s]);
        }
        if (!part) FUSED_ROLLED for (int i = I / 4 * 4; i < I; i++) acc[0] += factor(weight[i]) * factor(in[i * LD + s]);
        sums.v[h][0] = (acc[0] + acc[1]) + (acc[2] + acc[3]);
      }
      Held<1, int> first;
      add_parts(sums, first, parts);
      FUSED_LANES(h) {
        const int s = w * slots + lane_of(h);
        const Real z = sums.v[h][0];
        if (lane_of(h) < slots && s < n) out[s] = relu && z < 0 ? 0 : z;
      }
    }
  }

  // below[i][s] = sum_o weight[o][i] delta[o][s], zero where RELU and activation[i][s] <= 0, which `below` may be.
  template <bool RELU>
  static FUSED_FN void back(Real* below, const Real* weight, int row, const Real* delta, const Real* activation, int O, int I,
                            int n) {
    back_tiles(below, weight, row, delta, activation, O, I, n, RELU);
  }
  static FUSED_CALL void back_tiles(Real* below, const Real* weight, int row, const Real* delta, const Real* activation, int O, int I,
                                    int n, bool relu) {
    FUSED_ON_CHIP(below);
    FUSED_ON_CHIP(delta);
    FUSED_ON_CHIP(activation);
    FUSED_OFF_CHIP(weight);
    const int across = (n + 3) / 4, count = tiles((I + TM - 1) / TM, across);
    for (int t = tid(); t < count; t += threads()) {
      const Tile tile = tile_of(t, across);
      const int i = tile.row * TM, s = tile.place * 4;
      if (i >= I) continue;
      const Real *w = weight + i, *d = delta + s;
      Real acc[TM][4] = {};
      const auto add = [&](Four by, const Four (&weights)[TM / 4]) {
        FUSED_UNROLL for (int quad = 0; quad < TM / 4; quad++) {
          const Four f = factors(weights[quad]);
          FUSED_UNROLL for (int k = 0; k < 4; k++)
            FUSED_UNROLL for (int r = 0; r < 4; r++) acc[4 * quad + k][r] += f.v[k] * by.v[r];
        }
      };
      const auto fetch = [&](Four (&next)[TM / 4], int o) {
        FUSED_UNROLL for (int quad = 0; quad < TM / 4; quad++) next[quad] = four(w + o * row + 4 * quad);  // rows are padded
      };
      struct Weights {
        Four of[4][TM / 4];
      };
      each_step<Weights>(
          O / 4, [&](Weights& next, int k) { FUSED_UNROLL for (int j = 0; j < 4; j++) fetch(next.of[j], 4 * k + j); },
          [&](const Weights& weights, int k) {
            Four by[4];
            FUSED_UNROLL for (int j = 0; j < 4; j++) by[j] = factors(d + (4 * k + j) * LD);
            FUSED_UNROLL for (int j = 0; j < 4; j++) add(by[j], weights.of[j]);
          },
          [&](int k) { FUSED_UNROLL for (int j = 0; j < 4; j++) soon(w + (4 * k + j) * row); });
      FUSED_ROLLED for (int o = O / 4 * 4; o < O; o++) {
        Four last[TM / 4];
        fetch(last, o);
        add(factors(d + o * LD), last);
      }
      FUSED_UNROLL for (int q = 0; q < TM; q++) if (i + q < I) {
        const Four a = four(activation + (i + q) * LD + s);
        Four z;
        FUSED_UNROLL for (int r = 0; r < 4; r++) z.v[r] = relu && a.v[r] <= 0 ? 0 : acc[q][r];
        *(Four*)(below + (i + q) * LD + s) = z;
      }
    }
  }

  // gradient[o][i] += sum_s delta[o][s] in[i][s] over the first n samples, and bias[o] += sum_s delta[o][s]. A tile has columns
  // i, i + across, ...: neighbouring lanes read neighbouring rows. No scratch is needed.
  static FUSED_CALL void outer(Real* gradient, int row, Real* bias, const Real* delta, const Real* in, int, int O, int I, int n,
                             Real*) {
    FUSED_ON_CHIP(delta);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(gradient);
    FUSED_OFF_CHIP(bias);
    if (O == 1) columns<1, 1>(gradient, row, delta, in, O, I, n, PARTS);
    else columns<TM, 4>(gradient, row, delta, in, O, I, n, power_below(BLOCK / 4 / ((I + 3) / 4), BLOCK / 4));
    if (O == 1) sum_samples<BLOCK / 4>(bias, delta, O, n);
    else sum_samples<PARTS>(bias, delta, O, n);
  }
  // to[o] += sum_s from[o][s] over the first n samples, in parts of quads that lie apart.
  template <int SPLIT> static FUSED_FN void sum_samples(Real* to, const Real* from, int O, int n) {
    constexpr int SLOTS = WARP / SPLIT;
    for (int w = warp(); w * SLOTS < O; w += warps()) {
      sync_warp();
      Held<1, Real> before, sums;
      FUSED_LANES(h) {
        const int part = lane_of(h) / SLOTS, at = w * SLOTS + lane_of(h) % SLOTS, o = at < O ? at : O - 1;
        before.v[h][0] = to[o];
        Real total = 0;
        FUSED_UNROLL for (int quad = 0; quad < BLOCK / 4; quad += SPLIT) {
          const int s = 4 * (quad + part);
          const Four d = four(from + o * LD + s);
          if (s + 4 <= n) total += (d.v[0] + d.v[1]) + (d.v[2] + d.v[3]);
        }
        if (!part) FUSED_ROLLED for (int s = n / 4 * 4; s < n; s++) total += from[o * LD + s];
        sums.v[h][0] = total;
      }
      Held<1, int> first;
      add_parts(sums, first, SPLIT);
      FUSED_LANES(h) {
        const int o = w * SLOTS + lane_of(h);
        if (lane_of(h) < SLOTS && o < O) to[o] = before.v[h][0] + sums.v[h][0];
      }
    }
  }
  // Tiles of sums over samples, in parts of neighbouring quads.
  template <int ROWS, int COLUMNS>
  static FUSED_FN void columns(Real* gradient, int row, const Real* delta, const Real* in, int O, int I, int n, int parts) {
    constexpr int N = ROWS * COLUMNS;
    const int across = (I + COLUMNS - 1) / COLUMNS, down = (O + ROWS - 1) / ROWS;
    const int count = ROWS > 1 ? tiles(down, across) : across, slots = WARP / parts;
    const int of_part = ((n + 3) / 4 + parts - 1) / parts * 4;
    for (int w = warp(); w * slots < count; w += warps()) {
      sync_warp();
      Held<N, Real> sums;
      const auto place = [&](int h) {
        const int t = w * slots + lane_of(h) % slots;
        return ROWS > 1 ? tile_of(t, across) : Tile{t / across, t % across};
      };
      FUSED_LANES(h) {
        const Tile tile = place(h);
        const int o = tile.row * ROWS, i = tile.place, start = lane_of(h) / slots * of_part;
        const int end = n - start < of_part ? n : start + of_part;
        // Rows and columns beyond the last repeat it and are not stored.
        const Real *d[ROWS], *x[COLUMNS];
        FUSED_UNROLL for (int q = 0; q < ROWS; q++) d[q] = delta + (o + q < O ? o + q : O - 1) * LD;
        FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) x[r] = in + (i + r * across < I ? i + r * across : I - 1) * LD;
        FUSED_UNROLL for (int q = 0; q < ROWS; q++) if (o + q < O) soon(gradient + (o + q) * row + i * COLUMNS);
        Real acc[ROWS][COLUMNS] = {};
        int s = start;
        FUSED_ROLLED for (; s + 4 <= end; s += 4) {
          Four by[COLUMNS];
          FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) by[r] = factors(x[r] + s);
          FUSED_UNROLL for (int q = 0; q < ROWS; q++) {
            const Four a = factors(d[q] + s);
            FUSED_UNROLL for (int r = 0; r < COLUMNS; r++)
              FUSED_UNROLL for (int k = 0; k < 4; k++) acc[q][r] += a.v[k] * by[r].v[k];
          }
        }
        FUSED_ROLLED for (; s < end; s++)
          FUSED_UNROLL for (int q = 0; q < ROWS; q++)
            FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) acc[q][r] += factor(d[q][s]) * factor(x[r][s]);
        FUSED_UNROLL for (int q = 0; q < ROWS; q++)
          FUSED_UNROLL for (int r = 0; r < COLUMNS; r++) sums.v[h][q * COLUMNS + r] = acc[q][r];
      }
      Held<1, int> first;
      add_parts(sums, first, parts);
      FUSED_LANES(h) {
        // What is left to a lane are whole rows of the tile, or some of one's.
        const int at = first.v[h][0], left = N < parts ? lane_of(h) < slots : N / parts;
        const int o = place(h).row * ROWS + at / COLUMNS, i = place(h).place + at % COLUMNS * across;
        // Of two rows all are fetched before one is stored: else each would wait for the last.
        constexpr int FETCHED = N < 2 * COLUMNS ? N : 2 * COLUMNS;
        FUSED_UNROLL for (int base = 0; base < N; base += FETCHED) if (base < left) {
          Real* to = gradient + (o + base / COLUMNS) * row + i;
          bool owned[FETCHED];
          Real before[FETCHED];
          FUSED_UNROLL for (int k = 0; k < FETCHED; k++) {
            owned[k] = base + k < left && o + (base + k) / COLUMNS < O && i + k % COLUMNS * across < I;
            before[k] = *(owned[k] ? to + k / COLUMNS * row + k % COLUMNS * across : gradient);
          }
          FUSED_UNROLL for (int k = 0; k < FETCHED; k++)
            if (owned[k]) to[k / COLUMNS * row + k % COLUMNS * across] = before[k] + sums.v[h][base + k];
        }
      }
    }
  }
};

}  // namespace fused
