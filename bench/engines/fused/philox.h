// Draws made inside training, as bench/protocol/philox.py specifies them.
#pragma once
#include "real.h"
#include "spec.h"

namespace fused {

struct Words {
  Word w[4];
};

FUSED_FN Word high_product(Word a, Word b) { return (Word)(((unsigned long long)a * b) >> 32); }

// Philox4x32-10: Salmon, Moraes, Dror and Shaw 2011, doi 10.1145/2063384.2063405.
FUSED_FN Words philox(Word c0, Word c1, Word c2, Word c3, Word k0, Word k1) {
  for (int round = 0; round < 10; round++) {
    const Word h0 = high_product(c0, 0xD2511F53u), h2 = high_product(c2, 0xCD9E8D57u);
    const Word l0 = c0 * 0xD2511F53u, l2 = c2 * 0xCD9E8D57u;
    c0 = h2 ^ c1 ^ k0;
    c2 = h0 ^ c3 ^ k1;
    c1 = l2;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// In (0, 1), from the upper 23 bits of a word.
FUSED_FN double uniform(Word word) { return ((word >> 9) + 0.5) / (1 << 23); }

const int HALF_WORDS = 1 << 16;  // values of a half-word
const int UNITS_PER_CALL = 8;
const int NORMALS_PER_CALL = 4;

// Half-words below this drop a unit.
FUSED_FN Word drop_threshold(double rate) { return (Word)(rate * HALF_WORDS + 0.5); }

// fmix32 of MurmurHash3 (Appleby, public domain).
FUSED_FN Word murmur_finalizer(Word word) {
  word = (word ^ (word >> 16)) * 0x85EBCA6Bu;
  word = (word ^ (word >> 13)) * 0xC2B2AE35u;
  return word ^ (word >> 16);
}

// The order in which an epoch visits the samples: a balanced Feistel network of 8 rounds, walked until it lands below `size`.
struct Order {
  Word keys[8];
  int bits;
  Word size;

  FUSED_FN Order(const Word* key, int epoch, int samples) : bits(1), size((Word)samples) {
    for (int half = 0; half < 2; half++) {
      const Words drawn = philox((Word)epoch, 0, (Word)half, 0, key[0], key[1]);
      for (int i = 0; i < 4; i++) keys[4 * half + i] = drawn.w[i];
    }
    while ((1ull << (2 * bits)) < size) bits++;
  }

  FUSED_FN Word at(Word place) const {
    const Word mask = (1u << bits) - 1;
    do {
      Word left = place >> bits, right = place & mask;
      for (int i = 0; i < 8; i++) {
        const Word next = left ^ (murmur_finalizer(right ^ keys[i]) & mask);
        left = right;
        right = next;
      }
      place = left << bits | right;
    } while (place >= size);
    return place;
  }
};

}  // namespace fused
