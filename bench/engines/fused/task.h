// One cell to train, as the host hands it over and gets it back. Numbers are double whatever the cell's own precision.
#pragma once
#include "spec.h"

namespace fused {

struct Task {
  Spec spec;
  int is_double;
  int n_predictions;
  // In: initial weights and biases layer by layer, [out][in] and [out]; samples [n][d_in]; a learning rate for each epoch.
  const double *params, *inputs, *targets, *val_inputs, *val_targets, *rates;
  // Out: a measure for each epoch up to `last`, and the outputs of the first samples in the final state.
  double *tau, *val_mse, *predictions;
  int last;
  State state;
  // Shared with other threads, read and written by __atomic builtins: set by the host to stop; the epochs done so far, for progress.
  const bool* stop;
  int* epochs_done;
};

}  // namespace fused

// For each instruction set: train a fused::Task on this thread (false where memory ran out), and the operations of so many rounds
// of multiply-adds.
extern "C" {
bool memcap_train_avx512(void* task);
bool memcap_train_avx2(void* task);
bool memcap_train_portable(void* task);
double memcap_multiply_adds_avx512(bool is_double, long long rounds);
double memcap_multiply_adds_avx2(bool is_double, long long rounds);
double memcap_multiply_adds_portable(bool is_double, long long rounds);
// The form of a block of threads, with one thread: for tests.
bool memcap_train_block(void* task);
}
