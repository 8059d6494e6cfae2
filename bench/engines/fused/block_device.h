// A GPU of a test's: the kernels of kernels.cu on this host, with `rows` the MEMCAP_TM of their tiles.
#pragma once

// Bytes of a cell's memory, bytes of its scratch, and the shares of its batches.
void memcap_block_measure(bool is_double, int block, int rows, const void* spec, long long* sizes);

// A slice of `epochs` of each cell: `teams` teams of `team` blocks of `threads` threads each, with so much scratch for each block.
// `descending`: between barriers the last thread has the first turn.
void memcap_block_train(bool is_double, int block, int rows, void* tasks, const int* order, int count, int teams, int team,
                        int threads, int epochs, long long scratch_bytes, bool descending);
