// The three small matrix products on tensor cores, which multiply numbers of TF32: each warp owns ROWS x SPAN outputs at a time.
//
// With PASSES of 1 factors are rounded to TF32. With 3 each is a head of TF32 and a tail of what the head lacks, and all products but
// tail by tail are summed, the small ones first: float32 but for the order of sums and their rounding toward zero ("3xTF32").
// A row of outputs is not worth a tensor core, and neither are the gradients of one: BlockTiles have them.
#pragma once
#include "block_tiles.h"
#include "tensor_core.h"

namespace fused {

template <int BLOCK_, int ROWS, int PASSES> struct TensorTiles : BlockTiles<float, BLOCK_, 4, PASSES == 1> {
  typedef BlockTiles<float, BLOCK_, 4, PASSES == 1> Plain;
  typedef typename Plain::Four Four;
  using Plain::four;
  using Plain::LD;
  static constexpr int TALL = ROWS / 16, WIDE = BLOCK_ < 32 ? 2 : 4;  // products of a tensor core that a warp has beside one another
  static constexpr int SPAN = 8 * WIDE;
  static_assert(PASSES == 1 || PASSES == 3, "a factor is its head, or head and tail");

  struct alignas(8) Two {
    float v[2];
  };
  struct alignas(4 * WIDE) Few {
    float v[WIDE];
  };

  // A warp's outputs, and what a step of eight terms takes from afar.
  struct Tile {
    Sums of[TALL][WIDE];
  };
  struct Lefts {
    Left of[TALL];
  };

  template <int N> static FUSED_FN Held<N> heads(const Held<N>& x) {
    Held<N> head;
    // A NaN that is no more one has a tail that is.
    FUSED_LANES(h)
      FUSED_UNROLL for (int k = 0; k < N; k++) head.v[h][k] = PASSES == 3 ? rounded_to_tf32(x.v[h][k]) : to_tf32(x.v[h][k]);
    return head;
  }
  // No more than the last bit is cut off.
  template <int N> static FUSED_FN Held<N> tails(const Held<N>& x, const Held<N>& head) {
    Held<N> tail;
    FUSED_LANES(h)
      FUSED_UNROLL for (int k = 0; k < N; k++) tail.v[h][k] = bits_of<float>(bits_of<Word>(x.v[h][k] - head.v[h][k]) & ~TF32_REST);
    return tail;
  }

  // tile += left times right, of the first `wide` columns of eight; products of one sum apart, so that none waits for the last.
  static FUSED_FN void add(Tile& tile, const Left (&left)[TALL], const Right (&right)[WIDE], int wide = WIDE) {
    Left head[TALL], tail[TALL];
    Right right_head[WIDE], right_tail[WIDE];
    FUSED_UNROLL for (int m = 0; m < TALL; m++) head[m] = heads(left[m]);
    FUSED_UNROLL for (int j = 0; j < WIDE; j++) right_head[j] = heads(right[j]);
    if (PASSES == 3) {
      FUSED_UNROLL for (int m = 0; m < TALL; m++) tail[m] = tails(left[m], head[m]);
      FUSED_UNROLL for (int j = 0; j < WIDE; j++) right_tail[j] = tails(right[j], right_head[j]);
      add_each(tile, head, right_tail, wide);
      add_each(tile, tail, right_head, wide);
    }
    add_each(tile, head, right_head, wide);
  }
  static FUSED_FN void add_each(Tile& tile, const Left (&left)[TALL], const Right (&right)[WIDE], int wide) {
    FUSED_UNROLL for (int j = 0; j < WIDE; j++) if (j < wide)
      FUSED_UNROLL for (int m = 0; m < TALL; m++) multiply_add(tile.of[m][j], left[m], right[j]);
  }

  static FUSED_FN int least(int a, int b) { return a < b ? a : b; }

  // Samples lie across a tile so that a lane's are neighbours: column c of product j is sample WIDE c + j. Terms 2 p and 2 p + 1 of
  // eight are places p and p + 4. Neither is seen in the sums.

  // out[o][s] = bias[o] + sum_i weight[o][i] in[i][s], relu'd if RELU. Samples are computed up to a multiple of SPAN.
  template <bool RELU>
  static FUSED_CALL void affine(float* out, const float* weight, int row, const float* bias, const float* in, int, int O, int I,
                              int n) {
    FUSED_ON_CHIP(out);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(weight);
    FUSED_OFF_CHIP(bias);
    if (O == 1) return Plain::single(out, weight, bias, in, I, n, RELU);
    const int across = (n + SPAN - 1) / SPAN, down = (O + ROWS - 1) / ROWS;
    for (int t = BlockThreads::warp(); t < across * down; t += BlockThreads::warps()) {
      BlockThreads::sync_warp();
      const int first = t / across * ROWS, s = t % across * SPAN;
      Tile tile;
      FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++) FUSED_UNROLL for (int k = 0; k < 4; k++) {
        const float value = bias[least(first + 16 * m + 8 * (k / 2) + group_of(h), O - 1)];
        FUSED_UNROLL for (int j = 0; j < WIDE; j++) tile.of[m][j].v[h][k] = value;
      }
      // Rows beyond the last repeat it: of outputs they are not stored, of inputs they meet the zeros that weights are padded with (an
      // infinite input so becomes NaN, which it would soon).
      const auto weights_of = [&](int h, int m, int half, int k) {
        return weight + least(first + 16 * m + 8 * half + group_of(h), O - 1) * row + 8 * k + 2 * place_of(h);
      };
      each_step<Lefts>(
          (I + 7) / 8,
          [&](Lefts& left, int k) {
            FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++) FUSED_UNROLL for (int half = 0; half < 2; half++) {
              const Two w = *(const Two*)weights_of(h, m, half, k);
              FUSED_UNROLL for (int term = 0; term < 2; term++) left.of[m].v[h][2 * term + half] = w.v[term];
            }
          },
          [&](const Lefts& left, int k) {
            Right right[WIDE];
            FUSED_LANES(h) FUSED_UNROLL for (int term = 0; term < 2; term++) {
              const Few x = *(const Few*)(in + least(8 * k + 2 * place_of(h) + term, I - 1) * LD + s + WIDE * group_of(h));
              FUSED_UNROLL for (int j = 0; j < WIDE; j++) right[j].v[h][term] = x.v[j];
            }
            add(tile, left.of, right);
          },
          [&](int k) {
            FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++)
              FUSED_UNROLL for (int half = 0; half < 2; half++) soon(weights_of(h, m, half, k));
          });
      FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++) FUSED_UNROLL for (int half = 0; half < 2; half++) {
        const int o = first + 16 * m + 8 * half + group_of(h);
        if (o >= O) continue;
        FUSED_UNROLL for (int k = 0; k < 2; k++) {
          Few z;
          FUSED_UNROLL for (int j = 0; j < WIDE; j++) {
            z.v[j] = tile.of[m][j].v[h][2 * half + k];
            if (RELU && z.v[j] < 0) z.v[j] = 0;
          }
          *(Few*)(out + o * LD + s + WIDE * (2 * place_of(h) + k)) = z;
        }
      }
    }
  }

  // below[i][s] = sum_o weight[o][i] delta[o][s], zero where RELU and activation[i][s] <= 0. Row r of a tile is column 2 r of the
  // weights, row r + 8 column 2 r + 1.
  template <bool RELU>
  static FUSED_CALL void back(float* below, const float* weight, int row, const float* delta, const float* activation, int O, int I,
                            int n) {
    FUSED_ON_CHIP(below);
    FUSED_ON_CHIP(delta);
    FUSED_ON_CHIP(activation);
    FUSED_OFF_CHIP(weight);
    if (O == 1) return Plain::template back<RELU>(below, weight, row, delta, activation, O, I, n);
    const int across = (n + SPAN - 1) / SPAN, down = (I + ROWS - 1) / ROWS;
    for (int t = BlockThreads::warp(); t < across * down; t += BlockThreads::warps()) {
      BlockThreads::sync_warp();
      const int first = t / across * ROWS, s = t % across * SPAN;
      Tile tile{};
      const auto weights_of = [&](int h, int m, int term, int k) {
        return weight + least(8 * k + 2 * place_of(h) + term, O - 1) * row + least(first + 16 * m + 2 * group_of(h), row - 2);
      };
      each_step<Lefts>(
          (O + 7) / 8,
          [&](Lefts& left, int k) {
            FUSED_LANES(h) FUSED_UNROLL for (int term = 0; term < 2; term++) {
              const bool beyond = 8 * k + 2 * place_of(h) + term >= O;
              FUSED_UNROLL for (int m = 0; m < TALL; m++) {
                const Two w = *(const Two*)weights_of(h, m, term, k);
                FUSED_UNROLL for (int half = 0; half < 2; half++) left.of[m].v[h][2 * term + half] = beyond ? 0 : w.v[half];
              }
            }
          },
          [&](const Lefts& left, int k) {
            Right right[WIDE];
            FUSED_LANES(h) FUSED_UNROLL for (int term = 0; term < 2; term++) {
              const Few d = *(const Few*)(delta + least(8 * k + 2 * place_of(h) + term, O - 1) * LD + s + WIDE * group_of(h));
              FUSED_UNROLL for (int j = 0; j < WIDE; j++) right[j].v[h][term] = d.v[j];
            }
            add(tile, left.of, right);
          },
          [&](int k) {
            FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++)
              FUSED_UNROLL for (int term = 0; term < 2; term++) soon(weights_of(h, m, term, k));
          });
      FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++) FUSED_UNROLL for (int half = 0; half < 2; half++) {
        const int i = first + 16 * m + 2 * group_of(h) + half;
        if (i >= I) continue;
        FUSED_UNROLL for (int k = 0; k < 2; k++) {
          const int at = i * LD + s + WIDE * (2 * place_of(h) + k);
          const Few a = *(const Few*)(activation + at);
          Few z;
          FUSED_UNROLL for (int j = 0; j < WIDE; j++) z.v[j] = RELU && a.v[j] <= 0 ? 0 : tile.of[m][j].v[h][2 * half + k];
          *(Few*)(below + at) = z;
        }
      }
    }
  }

  // gradient[o][i] += sum_s delta[o][s] in[i][s] over the first n samples, and bias[o] += sum_s delta[o][s]. Four terms of a lane are
  // neighbours, and rows r and r + 1 of a tile, as columns, lie four apart, where threads meet in different banks of shared memory.
  static FUSED_CALL void outer(float* gradient, int row, float* bias, const float* delta, const float* in, int, int O, int I,
                             int n, float*) {
    FUSED_ON_CHIP(delta);
    FUSED_ON_CHIP(in);
    FUSED_OFF_CHIP(gradient);
    FUSED_OFF_CHIP(bias);
    if (O == 1) return Plain::outer(gradient, row, bias, delta, in, LD, O, I, n, nullptr);
    add_products(gradient, row, delta, in, O, I, n);
    Plain::template sum_samples<Plain::PARTS>(bias, delta, O, n);
  }
  static FUSED_FN void add_products(float* gradient, int row, const float* delta, const float* in, int O, int I, int n) {
    const int across = (I + SPAN - 1) / SPAN, down = (O + ROWS - 1) / ROWS;
    for (int t = BlockThreads::warp(); t < across * down; t += BlockThreads::warps()) {
      BlockThreads::sync_warp();
      const int first = t / across * ROWS, column = t % across * SPAN, wide = (I - column + 7) / 8;
      // Row by row: a lane for each sector of a tile's row, beyond the last one of what follows it.
      FUSED_LANES(h) FUSED_UNROLL for (int down = 0; down < ROWS; down += 8)
        soon(gradient + least(first + down + group_of(h), O - 1) * row + column + 8 * place_of(h));
      Tile tile{};
      FUSED_ROLLED for (int s = 0; s < n; s += 16) {
        Left left[2][TALL];
        Right right[2][WIDE];
        FUSED_LANES(h) {
          const int apart = group_of(h) / 2 + 4 * (group_of(h) % 2), rest = n - s - 4 * place_of(h);
          FUSED_UNROLL for (int m = 0; m < TALL; m++) FUSED_UNROLL for (int half = 0; half < 2; half++) {
            const Four d = four(delta + least(first + 16 * m + 8 * half + apart, O - 1) * LD + s + 4 * place_of(h));
            FUSED_UNROLL for (int k = 0; k < 4; k++) left[k / 2][m].v[h][2 * (k % 2) + half] = k < rest ? d.v[k] : 0;
          }
          FUSED_UNROLL for (int j = 0; j < WIDE; j++) {
            const Four x = four(in + least(column + 8 * j + apart, I - 1) * LD + s + 4 * place_of(h));
            FUSED_UNROLL for (int k = 0; k < 4; k++) right[k / 2][j].v[h][k % 2] = k < rest ? x.v[k] : 0;
          }
        }
        FUSED_UNROLL for (int k = 0; k < 2; k++) add(tile, left[k], right[k], wide);
      }
      FUSED_LANES(h) FUSED_UNROLL for (int m = 0; m < TALL; m++) FUSED_UNROLL for (int half = 0; half < 2; half++) {
        const int o = first + 16 * m + 8 * half + group_of(h) / 2 + 4 * (group_of(h) % 2), start = o * row + column + place_of(h);
        const int left = o < O ? I - column - place_of(h) : 0;
        // All are fetched before one is stored: else each would wait for the last.
        float before[WIDE][2];
        FUSED_UNROLL for (int j = 0; j < WIDE; j++) FUSED_UNROLL for (int k = 0; k < 2; k++)
          before[j][k] = gradient[8 * j + 4 * k < left ? start + 8 * j + 4 * k : 0];
        FUSED_UNROLL for (int j = 0; j < WIDE; j++) FUSED_UNROLL for (int k = 0; k < 2; k++)
          if (8 * j + 4 * k < left) gradient[start + 8 * j + 4 * k] = before[j][k] + tile.of[m][j].v[h][2 * half + k];
      }
    }
  }
};

}  // namespace fused
