// A GPU of a test's: the kernels of kernels.cu on this host, by what bench/engines/cuda/tiles.py calls a kernel.
#pragma once

// Bytes of a cell's memory, bytes of its scratch, and the shares of its batches.
void memcap_block_measure(int dtype, int block, int rows, bool tensor_cores, const void* spec, long long* sizes);

// A slice of `epochs` of each cell: `teams` teams of `team` blocks of `threads` threads each, with so much scratch for each block.
// `descending`: between barriers the last thread has the first turn.
void memcap_block_train(int dtype, int block, int rows, bool tensor_cores, void* tasks, const int* order, int count, int teams, int team,
                        int threads, int epochs, long long scratch_bytes, bool descending);
