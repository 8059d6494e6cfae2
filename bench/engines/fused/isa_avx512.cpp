// The core for processors with AVX-512, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_avx512
#include "build.h"

MEMCAP_BUILD(avx512, 64, 4, 6, 4)
