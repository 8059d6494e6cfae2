// Where a cell's arrays lie in one piece of memory, and how they begin.
#pragma once
#include "core.h"
#include "task.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace fused {

const int ALIGNMENT = 64;  // bytes, a cache line; places of a piece of memory that begins on one

// Bytes behind each array that nobody may touch, where a sanitizer watches: else it would not see one array run over into the next.
#if defined(__SANITIZE_ADDRESS__)
const int FENCE = 256;
#else
const int FENCE = 0;
#endif

// Offsets in bytes. Without scratch where that lies elsewhere.
template <class Tiles> struct Offsets {
  typedef typename Tiles::Real Real;
  long long params, moment1, moment2, moment2_max, gradient, inputs, targets, val_inputs, val_targets, sums, order, scratch, bytes;

  FUSED_FN Offsets(const Spec& c, bool with_scratch) : bytes(0) {
    const long long size = n_padded_params<Tiles>(c), adaptive = c.optimizer != SGD;
    const long long row = padded(c.n_samples, Tiles::BLOCK), val_row = padded(c.n_val, Tiles::BLOCK);
    params = take(size);
    moment1 = take(size);
    moment2 = take(adaptive ? size : 0);
    moment2_max = take(c.amsgrad ? size : 0);
    gradient = take(shares_of<Tiles>(c.n_samples) * size);
    inputs = take(c.d_in * row);
    targets = take(target_rows(c) * row);
    val_inputs = take(c.d_in * val_row);
    val_targets = take(target_rows(c) * val_row);
    sums = take((c.loss == CROSS_ENTROPY ? 3 : 2) * Tiles::SHARES);
    order = take(c.shuffle ? c.n_samples : 0);
    scratch = take(with_scratch ? scratch_size<Tiles>(c) : 0);
  }

  // Fences up, from when a cell begins, and down, when it has ended and others may have the memory.
#if defined(__SANITIZE_ADDRESS__)
  void close(void* memory) const {
    for (int i = 0; i < n_fences; i++) ASAN_POISON_MEMORY_REGION((char*)memory + fences[i], FENCE);
  }
  void open(void* memory) const { ASAN_UNPOISON_MEMORY_REGION(memory, bytes); }
#else
  FUSED_FN void close(void*) const {}
  FUSED_FN void open(void*) const {}
#endif

 private:
#if defined(__SANITIZE_ADDRESS__)
  long long fences[12];
  int n_fences = 0;
  void fence() { fences[n_fences++] = bytes; }
#else
  FUSED_FN void fence() {}
#endif
  FUSED_FN long long take(long long count) {
    const long long at = bytes;
    bytes += (count * (long long)sizeof(Real) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    fence();
    bytes += FENCE;
    return at;
  }
};

// `scratch` null: in the task's memory.
template <class Tiles> FUSED_FN Arrays<typename Tiles::Real> arrays_of(const Task& task, typename Tiles::Real* scratch) {
  typedef typename Tiles::Real Real;
  const Offsets<Tiles> at(task.spec, !scratch);
  char* memory = (char*)task.memory;
  const int row = padded(task.spec.n_samples, Tiles::BLOCK), val_row = padded(task.spec.n_val, Tiles::BLOCK);
  return {(Real*)(memory + at.params), (Real*)(memory + at.moment1), (Real*)(memory + at.moment2), (Real*)(memory + at.moment2_max),
          (Real*)(memory + at.gradient),
          {(Real*)(memory + at.inputs), (Real*)(memory + at.targets), row},
          {(Real*)(memory + at.val_inputs), (Real*)(memory + at.val_targets), val_row},
          scratch ? scratch : (Real*)(memory + at.scratch), (Real*)(memory + at.sums), (int*)(memory + at.order),
          task.rates, task.n_rates, task.tau, task.val_mse, task.recalled, task.first, task.room};
}

// Samples [n][d_in] as features [d_in][row], and their targets [n][n_targets] likewise.
template <class Tiles> FUSED_FN void turn_over(const Data<typename Tiles::Real>& to, const double* inputs, const double* targets,
                                               int n, int d_in, int n_targets) {
  typedef typename Tiles::Real Real;
  FUSED_TEAM(s, 0, n) {
    FUSED_ROLLED for (int f = 0; f < d_in; f++) to.inputs[(long long)f * to.row + s] = (Real)inputs[(long long)s * d_in + f];
    FUSED_ROLLED for (int o = 0; o < n_targets; o++)
      to.targets[(long long)o * to.row + s] = (Real)targets[(long long)s * n_targets + o];
  }
}

template <bool BACK, class Real> FUSED_FN void copy(double& host, Real& own) {
  if (BACK) host = own;
  else own = (Real)host;
}

// Parameters as the host has them, [out][in] and [out], to the arrays' rows, or, if BACK, from there; returns where the host's end.
template <class Tiles, bool BACK> FUSED_FN double* copy_params(const Spec& c, double* host, typename Tiles::Real* rows) {
  for (int l = 0; l <= c.depth; l++) {
    const Layer at = layer_of<Tiles>(c, l);
    double* biases = host + at.fan_out * at.fan_in;
    FUSED_TEAM(o, 0, at.fan_out) {
      FUSED_ROLLED for (int i = 0; i < at.fan_in; i++) copy<BACK>(host[o * at.fan_in + i], rows[at.weights + o * at.row + i]);
      copy<BACK>(biases[o], rows[at.biases + o]);
    }
    host = biases + at.fan_out;
  }
  return host;
}

// Arrays that outlast an epoch: parameters and moments.
FUSED_FN int lasting(const Spec& c) { return c.optimizer == SGD ? 2 : c.amsgrad ? 4 : 3; }

// The first so many of them, likewise.
template <class Tiles, bool BACK>
FUSED_CALL void copy_arrays(const Spec& c, double* host, const Arrays<typename Tiles::Real>& a, int count) {
  FUSED_ROLLED for (int k = 0; k < count; k++)
    host = copy_params<Tiles, BACK>(c, host, k == 0 ? a.params : k == 1 ? a.moment1 : k == 2 ? a.moment2 : a.moment2_max);
}

// A cell that is fresh or was saved: all arrays zero but the samples, the parameters, and moments that were saved.
template <class Tiles> FUSED_CALL void begin(const Task& task, const Arrays<typename Tiles::Real>& arrays, bool with_scratch) {
  const Spec& c = task.spec;
  const Offsets<Tiles> at(c, with_scratch);
  const int words = (int)(at.bytes / ALIGNMENT);
  struct alignas(16) Line { int word[ALIGNMENT / sizeof(int)]; };
  FUSED_TEAM(i, 0, words) ((Line*)task.memory)[i] = Line{};
  Tiles::team_sync();
  if (Tiles::rank() == 0 && Tiles::tid() == 0) at.close(task.memory);
  const bool saved = task.progress.state == SAVED;
  copy_arrays<Tiles, false>(c, saved ? task.saved : task.params, arrays, saved ? lasting(c) : 1);
  turn_over<Tiles>(arrays.train, task.inputs, task.targets, c.n_samples, c.d_in, target_rows(c));
  turn_over<Tiles>(arrays.val, task.val_inputs, task.val_targets, c.n_val, c.d_in, target_rows(c));
  Tiles::team_sync();
}

template <class Tiles> FUSED_CALL void set_up(Core<Tiles>& core, const Task& task, typename Tiles::Real* scratch) {
  core.set_up(task.spec, arrays_of<Tiles>(task, scratch));
}

// Trains a cell from where it is: to its end, or until the host says pause. `scratch` null: in the task's memory. `core` is room
// for the core: one for all threads of a block where they share one, else each thread's own.
template <class Tiles, class Host>
FUSED_CALL void go_on(Task& task, Core<Tiles>& core, Host& host, typename Tiles::Real* scratch) {
  if (Tiles::tid() == 0 || !Tiles::ONE_CORE) set_up<Tiles>(core, task, scratch);
  Tiles::sync();
  if (task.progress.state == FRESH || task.progress.state == SAVED) begin<Tiles>(task, core.arrays(), !scratch);
  core.train(host, task.progress);
  const bool ended = task.progress.state == ENDED;
  if (!ended && (task.progress.state != PAUSED || !task.saved)) return;
  copy_arrays<Tiles, true>(task.spec, ended ? task.params : task.saved, core.arrays(), ended ? 1 : lasting(task.spec));
  if (!ended) return;
  if (Tiles::rank() == 0) core.predict(task.n_predictions, task.predictions);
  if (Tiles::rank() == 0 && Tiles::tid() == 0) Offsets<Tiles>(task.spec, !scratch).open(task.memory);
}

}  // namespace fused
