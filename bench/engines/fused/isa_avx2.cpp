// The core for processors with AVX2 and FMA, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_avx2
#include "build.h"

MEMCAP_BUILD(avx2, 32, 8, 6, 2)
