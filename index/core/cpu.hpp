// Which instructions the searches may use. Chosen at run time, never by -march=native: one binary
// serves every machine.
#pragma once

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define LSR_HAS_AVX2_PATH 1
#define LSR_AVX2 __attribute__((target("avx2,popcnt,bmi2")))
#else
#define LSR_HAS_AVX2_PATH 0
#endif

#if defined(__GNUC__) || defined(__clang__)
// A loop body shared by both paths: inlined into a function that may use AVX2, it is vectorised
// with AVX2.
#define LSR_INLINE inline __attribute__((always_inline))
#define LSR_PREFETCH(address) __builtin_prefetch(address)
#else
#define LSR_INLINE inline
#define LSR_PREFETCH(address) ((void)(address))
#endif

namespace lsr {

enum class Cpu { portable, avx2 };

constexpr bool uses_avx2(Cpu cpu) { return cpu == Cpu::avx2; }

inline Cpu best_cpu() {
#if LSR_HAS_AVX2_PATH
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
                   __builtin_cpu_supports("bmi2")
               ? Cpu::avx2
               : Cpu::portable;
#else
    return Cpu::portable;
#endif
}

}  // namespace lsr
