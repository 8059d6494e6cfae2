// One cell to train, as the host hands it over and gets it back. Numbers are double whatever the cell's own precision.
#pragma once
#include "spec.h"

namespace fused {

struct Task {
  Spec spec;
  int n_predictions;
  int n_rates;  // learning rates; the last is that of all later epochs
  // In, and out when the cell has ended: weights and biases layer by layer, [out][in] and [out].
  double* params;
  // In: samples [n][d_in], and of each its n_outputs targets, or its label.
  const double *inputs, *targets, *val_inputs, *val_targets, *rates;
  // Out: measures of `room` epochs from `first` on, the last of them only of labels: how many of the training set are right. And the
  // outputs of the first samples in the final state, n_outputs of each.
  double *tau, *val_mse, *recalled, *predictions;
  int first, room;
  // In where the state is SAVED, out at every pause if not null: parameters, then the optimizer's moments, each array like `params`.
  double* saved;
  void* memory;  // Offsets::bytes of the cell, its own until it ends
  Progress progress;
};

}  // namespace fused
