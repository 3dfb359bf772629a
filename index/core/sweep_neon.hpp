// One step of the sweep with NEON, which every 64-bit ARM has: a table look-up of 16 cells, sums in
// the order of the blocks.
#pragma once

#include "cpu.hpp"

#if LSR_HAS_NEON_PATH
#include <arm_neon.h>

#include "sweep_portable.hpp"

namespace lsr::detail {

template <int N>
inline void sweep_terms_neon(const SweepStep& now, const SweepStep& next, std::uint16_t* sum) {
    const Ahead ahead(now, next);
    const uint8x16_t nibble = vdupq_n_u8(15);
    uint8x16_t low[N], high[N];
    const std::uint8_t* cells[N];
    for (int t = 0; t < N; ++t) {
        const SweepTerm& term = now.terms[std::size_t(t)];
        low[t] = vld1q_u8(term.low);
        high[t] = vld1q_u8(term.high);
        cells[t] = term.cells + now.first / 2;
    }
    // 16 bytes of cells a turn: the blocks `at` .. `at` + 15 and those 32 further on.
    for (std::size_t g = 0; g < now.n; g += 32) {
        if (g % 128 == 0) ahead.prefetch(g);
        std::uint16_t* out = sum + now.first + g / 64 * 64 + g % 64 / 2;
        uint16x8_t a = vld1q_u16(out), b = vld1q_u16(out + 8);
        uint16x8_t c = vld1q_u16(out + 32), d = vld1q_u16(out + 40);
        for (int t = 0; t < N; ++t) {
            const uint8x16_t x = vld1q_u8(cells[t] + g / 2);
            const uint8x16_t even = vandq_u8(x, nibble), odd = vshrq_n_u8(x, 4);
            uint8x16_t l = vqtbl1q_u8(low[t], even), h = vqtbl1q_u8(high[t], even);
            a = vqaddq_u16(a, vreinterpretq_u16_u8(vzip1q_u8(l, h)));
            b = vqaddq_u16(b, vreinterpretq_u16_u8(vzip2q_u8(l, h)));
            l = vqtbl1q_u8(low[t], odd), h = vqtbl1q_u8(high[t], odd);
            c = vqaddq_u16(c, vreinterpretq_u16_u8(vzip1q_u8(l, h)));
            d = vqaddq_u16(d, vreinterpretq_u16_u8(vzip2q_u8(l, h)));
        }
        vst1q_u16(out, a), vst1q_u16(out + 8, b);
        vst1q_u16(out + 32, c), vst1q_u16(out + 40, d);
    }
}

inline void sweep_neon(const SweepStep& now, const SweepStep& next, std::uint16_t* sum) {
    switch (now.terms.size()) {
        case 1:
            return sweep_terms_neon<1>(now, next, sum);
        case 2:
            return sweep_terms_neon<2>(now, next, sum);
        case 3:
            return sweep_terms_neon<3>(now, next, sum);
        default:
            return sweep_terms_neon<4>(now, next, sum);
    }
}

inline void page_maxima_neon(const std::uint16_t* bound, std::uint16_t* page_max,
                             std::size_t n_pages) {
    for (std::size_t p = 0; p < n_pages; ++p)
        page_max[p] = vmaxvq_u16(vld1q_u16(bound + p * kBlocksPerPage));
}

}  // namespace lsr::detail
#endif
