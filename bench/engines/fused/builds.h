// The core's builds for this processor, as module.cpp and they agree on them. `task` is a fused::Task.
#pragma once

extern "C" {
bool memcap_train_avx512(void* task, const bool* stop, const bool* pause, int* epochs);
bool memcap_train_avx2(void* task, const bool* stop, const bool* pause, int* epochs);
bool memcap_train_portable(void* task, const bool* stop, const bool* pause, int* epochs);
double memcap_multiply_adds_avx512(bool is_double, long long rounds);
double memcap_multiply_adds_avx2(bool is_double, long long rounds);
double memcap_multiply_adds_portable(bool is_double, long long rounds);
void memcap_elementary_avx512(bool is_double, const double* x, double* exps, double* logs, long long count);
void memcap_elementary_avx2(bool is_double, const double* x, double* exps, double* logs, long long count);
void memcap_elementary_portable(bool is_double, const double* x, double* exps, double* logs, long long count);
void memcap_normals_avx512(const unsigned* radius, const unsigned* turn, float* cosines, float* sines, long long count);
void memcap_normals_avx2(const unsigned* radius, const unsigned* turn, float* cosines, float* sines, long long count);
void memcap_normals_portable(const unsigned* radius, const unsigned* turn, float* cosines, float* sines, long long count);
}
