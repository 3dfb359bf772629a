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
#include <vector>

#include "cpu.hpp"
#include "query.hpp"
#include "segment_view.hpp"
#include "sweep_avx2.hpp"
#include "sweep_neon.hpp"
#include "sweep_portable.hpp"

namespace lsr {

using detail::SweepTerm;

inline constexpr std::size_t kStripe = 8192;  // blocks a stripe: 16 KB of u16, half of a 32 KB L1

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

// What a set of instructions brings to the sweep; one header each.
struct SweepPath {
    // sum[b] += the bounds of the step's terms; `next` is the step after it, if any.
    void (*add)(const SweepStep& now, const SweepStep& next, std::uint16_t* sum);
    // The n sums in the order of the blocks; `bound` may be `sum`.
    void (*bounds)(const std::uint16_t* sum, std::uint16_t* bound, std::size_t n);
    void (*page_maxima)(const std::uint16_t* bound, std::uint16_t* page_max, std::size_t n_pages);
};

inline SweepPath sweep_path(Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (cpu == Cpu::avx2) return {sweep_avx2, bounds_avx2, page_maxima_avx2};
#elif LSR_HAS_NEON_PATH
    if (cpu == Cpu::neon) return {sweep_neon, copy_bounds, page_maxima_neon};
#endif
    (void)cpu;
    return {sweep_portable, copy_bounds, page_maxima_portable};
}

}  // namespace detail

// Bounds of all blocks: bounds[p] from the terms `terms[from[p] ..]`, so bounds[0] from all of them
// when from[0] is 0. `from` ascends. All hold `stride` blocks, a multiple of 64.
inline void sweep(std::span<const SweepTerm> terms, std::span<const std::size_t> from,
                  std::size_t stride, std::span<std::vector<std::uint16_t>> bounds, Cpu cpu) {
    const detail::SweepPath path = detail::sweep_path(cpu);
    std::uint16_t* sum = bounds[0].data();
    for (std::size_t first = 0; first < stride; first += kStripe) {
        const std::size_t n = std::min(kStripe, stride - first);
        std::memset(sum + first, 0, n * sizeof(std::uint16_t));
        // Last phase first, so that each snapshot holds the phases from its own on.
        std::size_t end = terms.size();
        for (std::size_t p = from.size(); p-- > 0;) {
            // Steps go backwards from the end of a phase, so what follows `now` lies before it.
            for (std::size_t begin; end > from[p]; end = begin) {
                begin = end - std::min(detail::kStepTerms, end - from[p]);
                detail::SweepStep next{terms.subspan(begin - std::min(detail::kStepTerms, begin),
                                                     std::min(detail::kStepTerms, begin)),
                                       first, n};
                if (begin == 0 && first + n < stride)
                    next = {terms.last(std::min(detail::kStepTerms, terms.size())), first + n, n};
                path.add({terms.subspan(begin, end - begin), first, n}, next, sum);
            }
            path.bounds(sum + first, bounds[p].data() + first, n);
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

// The largest bound of each page (8 blocks); also used for the largest of 8 pages. `bound` holds 8
// x n_pages values.
inline void page_maxima(const std::uint16_t* bound, std::uint16_t* page_max, std::size_t n_pages,
                        Cpu cpu) {
    detail::sweep_path(cpu).page_maxima(bound, page_max, n_pages);
}

}  // namespace lsr
