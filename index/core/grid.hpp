// Block bounds from the 4-bit grid: for every block of 32 documents an upper bound of the query's
// score, in u16.
//
// After Ding and Suel (block-max indexes, SIGIR 2011) and Mallia et al. (block-max pruning, SIGIR
// 2024, arXiv 2405.01117), with 4-bit cells that index a 16-entry code of the term, so that one
// byte shuffle looks up 32 cells.
//
// Safety: code[c] is at least every impact of its block, table[c] >= w x code[c] x factor / 2^32
// because every entry rounds up, and the sum saturates at 65,535, which no threshold exceeds
// (query.hpp). Hence bound[b] >= floor(score x factor / 2^32) for every document of block b, and a
// block whose bound is below floor(theta x factor / 2^32) holds only scores strictly below theta: a
// document that ties with the threshold is never lost.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "cpu.hpp"
#include "query.hpp"
#include "segment_view.hpp"

#if LSR_HAS_AVX2_PATH
#include <immintrin.h>
#endif

namespace lsr {

inline constexpr std::size_t kStripe = 8192;  // blocks a stripe: 16 KB of u16, half of a 32 KB L1

// One term's cells and its bounds per code, split into low and high bytes for the shuffle.
struct SweepTerm {
    const std::uint8_t* cells = nullptr;
    alignas(16) std::uint8_t low[kCodes];
    alignas(16) std::uint8_t high[kCodes];
};

inline SweepTerm sweep_term(const SegmentView& segment, const Prepared& query,
                            const HeadTerm& term) {
    SweepTerm out;
    out.cells = segment.cells(term.head);
    const std::uint8_t* code = segment.codebook.data() + std::size_t(term.head) * kCodes;
    for (std::uint32_t c = 0; c < kCodes; ++c) {
        const std::uint16_t bound = query.ceil_bound(term.weight * code[c]);
        out.low[c] = std::uint8_t(bound & 0xFF);
        out.high[c] = std::uint8_t(bound >> 8);
    }
    return out;
}

namespace detail {

LSR_INLINE std::uint16_t add_saturated(std::uint16_t a, std::uint32_t b) {
    return std::uint16_t(std::min<std::uint32_t>(a + b, 65535));
}

// bound[b] += the terms' bounds for `n` blocks (a multiple of 64) starting at `first` (a multiple
// of 64).
inline void sweep_portable(std::span<const SweepTerm> terms, std::uint16_t* bound,
                           std::size_t first, std::size_t n) {
    for (const SweepTerm& term : terms) {
        std::uint16_t table[kCodes];
        for (std::uint32_t c = 0; c < kCodes; ++c)
            table[c] = std::uint16_t(term.low[c] | term.high[c] << 8);
        for (std::size_t g = first; g < first + n; g += 64) {
            const std::uint8_t* cells = term.cells + g / 2;
            std::uint16_t* out = bound + g;
            for (std::size_t j = 0; j < 32; ++j) {
                out[j] = add_saturated(out[j], table[cells[j] & 15]);
                out[j + 32] = add_saturated(out[j + 32], table[cells[j] >> 4]);
            }
        }
    }
}

#if LSR_HAS_AVX2_PATH
// Interleaving low and high bytes works inside 128-bit lanes, so the accumulators of 64 blocks hold
// them in the order 0-7 16-23 | 8-15 24-31 (and + 32). `unswizzle` restores the natural order once,
// after the last term of a stripe.
template <int N>
LSR_AVX2 inline void sweep_terms_avx2(const SweepTerm* terms, std::uint16_t* bound,
                                      std::size_t first, std::size_t n) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low[N], high[N];
    const std::uint8_t* cells[N];
    for (int t = 0; t < N; ++t) {
        low[t] = _mm256_broadcastsi128_si256(
            _mm_load_si128(reinterpret_cast<const __m128i*>(terms[t].low)));
        high[t] = _mm256_broadcastsi128_si256(
            _mm_load_si128(reinterpret_cast<const __m128i*>(terms[t].high)));
        cells[t] = terms[t].cells + first / 2;
    }
    for (std::size_t g = 0; g < n; g += 64) {
        __m256i* out = reinterpret_cast<__m256i*>(bound + first + g);
        __m256i a = _mm256_loadu_si256(out), b = _mm256_loadu_si256(out + 1);
        __m256i c = _mm256_loadu_si256(out + 2), d = _mm256_loadu_si256(out + 3);
        for (int t = 0; t < N; ++t) {
            const __m256i x =
                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(cells[t] + g / 2));
            const __m256i even = _mm256_and_si256(x, nibble);
            const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);
            __m256i l = _mm256_shuffle_epi8(low[t], even), h = _mm256_shuffle_epi8(high[t], even);
            a = _mm256_adds_epu16(a, _mm256_unpacklo_epi8(l, h));
            b = _mm256_adds_epu16(b, _mm256_unpackhi_epi8(l, h));
            l = _mm256_shuffle_epi8(low[t], odd), h = _mm256_shuffle_epi8(high[t], odd);
            c = _mm256_adds_epu16(c, _mm256_unpacklo_epi8(l, h));
            d = _mm256_adds_epu16(d, _mm256_unpackhi_epi8(l, h));
        }
        _mm256_storeu_si256(out, a), _mm256_storeu_si256(out + 1, b);
        _mm256_storeu_si256(out + 2, c), _mm256_storeu_si256(out + 3, d);
    }
}

LSR_AVX2 inline void unswizzle_avx2(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 32) {
        const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
        const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + 16));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                            _mm256_permute2x128_si256(a, b, 0x20));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i + 16),
                            _mm256_permute2x128_si256(a, b, 0x31));
    }
}

inline void sweep_avx2(std::span<const SweepTerm> terms, std::uint16_t* bound, std::size_t first,
                       std::size_t n) {
    std::size_t t = 0;
    for (; t + 4 <= terms.size(); t += 4) sweep_terms_avx2<4>(terms.data() + t, bound, first, n);
    for (; t < terms.size(); ++t) sweep_terms_avx2<1>(terms.data() + t, bound, first, n);
}
#endif

}  // namespace detail

// Bounds of all blocks: bounds[p] from the terms `terms[from[p] ..]`, so bounds[0] from all of them
// when from[0] is 0. `from` ascends. All hold `stride` blocks, a multiple of 64.
inline void sweep(std::span<const SweepTerm> terms, std::span<const std::size_t> from,
                  std::size_t stride, std::span<std::vector<std::uint16_t>> bounds, Cpu cpu) {
    for (std::size_t first = 0; first < stride; first += kStripe) {
        const std::size_t n = std::min(kStripe, stride - first);
        std::uint16_t* sum = bounds[0].data();
        std::memset(sum + first, 0, n * sizeof(std::uint16_t));
        std::size_t end = terms.size();
        for (std::size_t p = from.size(); p-- > 0;) {
            const std::span<const SweepTerm> some = terms.subspan(from[p], end - from[p]);
            end = from[p];
            std::uint16_t* out = bounds[p].data();
#if LSR_HAS_AVX2_PATH
            if (cpu == Cpu::avx2) {
                detail::sweep_avx2(some, sum, first, n);
                detail::unswizzle_avx2(sum + first, out + first, n);
                continue;
            }
#endif
            (void)cpu;
            detail::sweep_portable(some, sum, first, n);
            if (p) std::memcpy(out + first, sum + first, n * sizeof(std::uint16_t));
        }
    }
}

// Add what tail terms can contribute. Several postings of one block add up, which is still a bound
// of each.
inline void add_tail_bounds(const SegmentView& segment, const Prepared& query,
                            std::uint16_t* bound) {
    for (const TailTerm& tail : query.tails)
        for (std::size_t i = 0; i < tail.positions.size(); ++i) {
            const std::uint32_t position = tail.positions[i];
            if (position >= segment.n_docs) [[unlikely]]
                continue;  // corrupt bytes stay harmless
            std::uint16_t& b = bound[position / kBlock];
            b = detail::add_saturated(b, query.ceil_bound(tail.weight * tail.impacts[i]));
        }
}

namespace detail {

LSR_INLINE void page_maxima_portable(const std::uint16_t* bound, std::uint16_t* page_max,
                                     std::size_t n_pages) {
    for (std::size_t p = 0; p < n_pages; ++p) {
        const std::uint16_t* b = bound + p * kBlocksPerPage;
        std::uint16_t best = 0;
        for (std::uint32_t j = 0; j < kBlocksPerPage; ++j) best = std::max(best, b[j]);
        page_max[p] = best;
    }
}

#if LSR_HAS_AVX2_PATH
// phminposuw finds the least of eight u16; the complement turns greatest into least.
LSR_AVX2 inline void page_maxima_avx2(const std::uint16_t* bound, std::uint16_t* page_max,
                                      std::size_t n_pages) {
    const __m128i ones = _mm_set1_epi16(-1);
    for (std::size_t p = 0; p < n_pages; ++p) {
        const __m128i b =
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(bound + p * kBlocksPerPage));
        page_max[p] =
            std::uint16_t(~_mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(b, ones)), 0));
    }
}
#endif

}  // namespace detail

// The largest bound of each page (8 blocks); also used for the largest of 8 pages. `bound` holds 8
// x n_pages values.
inline void page_maxima(const std::uint16_t* bound, std::uint16_t* page_max, std::size_t n_pages,
                        Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (cpu == Cpu::avx2) return detail::page_maxima_avx2(bound, page_max, n_pages);
#endif
    (void)cpu;
    detail::page_maxima_portable(bound, page_max, n_pages);
}

}  // namespace lsr
