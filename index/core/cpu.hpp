// Which instructions the searches may use. Chosen at run time, never by -march=native: one binary
// serves every machine. Every path gives the same bits (tests/core, tests/test_core.py).
#pragma once

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define LSR_HAS_AVX2_PATH 1
#define LSR_AVX2 __attribute__((target("avx2,popcnt,bmi2")))
#else
#define LSR_HAS_AVX2_PATH 0
#endif

#if defined(__aarch64__) && defined(__ARM_NEON)
#define LSR_HAS_NEON_PATH 1
#else
#define LSR_HAS_NEON_PATH 0
#endif

#if defined(__GNUC__) || defined(__clang__)
// A loop body shared by both paths: inlined into a function that may use AVX2, it is vectorised
// with AVX2.
#define LSR_INLINE inline __attribute__((always_inline))
#define LSR_NOINLINE __attribute__((noinline))
#define LSR_PREFETCH(address) __builtin_prefetch(address)
#else
#define LSR_INLINE inline
#define LSR_NOINLINE
#define LSR_PREFETCH(address) ((void)(address))
#endif

namespace lsr {

enum class Cpu { portable, avx2, neon };

inline constexpr Cpu kCpus[] = {Cpu::avx2, Cpu::neon, Cpu::portable};  // best first

constexpr const char* cpu_name(Cpu cpu) {
    return cpu == Cpu::avx2 ? "avx2" : cpu == Cpu::neon ? "neon" : "portable";
}

// True when this machine runs the path.
inline bool has_cpu(Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (cpu == Cpu::avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
               __builtin_cpu_supports("bmi2");
#endif
    return cpu == Cpu::portable || (LSR_HAS_NEON_PATH && cpu == Cpu::neon);
}

constexpr bool uses_avx2(Cpu cpu) { return cpu == Cpu::avx2; }

inline Cpu best_cpu() {
    for (const Cpu cpu : kCpus)
        if (has_cpu(cpu)) return cpu;
    return Cpu::portable;
}

}  // namespace lsr
