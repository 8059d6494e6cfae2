// A task through the core with one kind of CPU tiles: arrays laid out, trained, read back.
#pragma once
#include <stdlib.h>

#include "core.h"
#include "task.h"

namespace fused {

const int ALIGNMENT = 64;  // bytes, a cache line

template <class Real> static Real* allocate(long long count) {
  const size_t bytes = (size_t)(count > 0 ? count : 1) * sizeof(Real);
  Real* made = (Real*)aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  if (made) __builtin_memset(made, 0, bytes);
  return made;
}

// Samples [n][d_in] as features [d_in][row].
template <class Real> static void lay_out(Real* to, int row, const double* from, int n, int d_in) {
  for (int s = 0; s < n; s++)
    for (int f = 0; f < d_in; f++) to[(long long)f * row + s] = (Real)from[(long long)s * d_in + f];
}

// What the core asks and tells while it trains.
struct Host {
  Task& task;
  bool stopped() const { return __atomic_load_n(task.stop, __ATOMIC_RELAXED); }
  void epoch_done() { __atomic_fetch_add(task.epochs_done, 1, __ATOMIC_RELAXED); }
};

template <class Tiles> static bool train_cell(Task& task) {
  typedef typename Tiles::Real Real;
  const Spec& c = task.spec;
  const int size = n_padded_params<Tiles>(c);
  const int row = padded(c.n_samples, Tiles::BLOCK), val_row = padded(c.n_val, Tiles::BLOCK);
  const bool adaptive = c.optimizer != SGD;
  enum { PARAMS, MOMENT1, MOMENT2, LARGEST, GRADIENT, INPUTS, TARGETS, VAL_INPUTS, VAL_TARGETS, SCRATCH, PREDICTIONS, COUNT };
  const long long sizes[COUNT] = {size, size, adaptive ? size : 0, c.amsgrad ? size : 0, size, (long long)c.d_in * row, row,
                                  (long long)c.d_in * val_row, val_row, scratch_size<Tiles>(c), task.n_predictions};
  Real* arrays[COUNT];
  bool enough = true;
  for (int i = 0; i < COUNT; i++) enough = (arrays[i] = allocate<Real>(sizes[i])) && enough;
  int* order = allocate<int>(c.shuffle ? c.n_samples : 0);
  if (enough && order) {
    const double* from = task.params;
    for (int l = 0; l <= c.depth; l++) {
      const Layer at = layer_of<Tiles>(c, l);
      for (int o = 0; o < at.fan_out; o++)
        for (int i = 0; i < at.fan_in; i++) arrays[PARAMS][at.weights + o * at.row + i] = (Real)*from++;
      for (int o = 0; o < at.fan_out; o++) arrays[PARAMS][at.biases + o] = (Real)*from++;
    }
    lay_out(arrays[INPUTS], row, task.inputs, c.n_samples, c.d_in);
    lay_out(arrays[TARGETS], row, task.targets, c.n_samples, 1);
    lay_out(arrays[VAL_INPUTS], val_row, task.val_inputs, c.n_val, c.d_in);
    lay_out(arrays[VAL_TARGETS], val_row, task.val_targets, c.n_val, 1);
    const Arrays<Real> parts = {arrays[PARAMS], arrays[MOMENT1], arrays[MOMENT2], arrays[LARGEST], arrays[GRADIENT],
                                {arrays[INPUTS], arrays[TARGETS], row}, {arrays[VAL_INPUTS], arrays[VAL_TARGETS], val_row},
                                arrays[SCRATCH], order, task.rates, task.tau, task.val_mse};
    Core<Tiles> core(c, parts);
    Host host{task};
    task.last = core.train(host, &task.state);
    core.predict(task.n_predictions, arrays[PREDICTIONS]);
    for (int s = 0; s < task.n_predictions; s++) task.predictions[s] = arrays[PREDICTIONS][s];
  }
  for (int i = 0; i < COUNT; i++) free(arrays[i]);
  free(order);
  return enough && order;
}

}  // namespace fused
