// Every posting of every query term, term at a time over windows of documents: the oracle of the
// other algorithms, and the fastest way when pruning cannot help. It relies on nothing but the
// postings, so there is no bound to get wrong.
//
// A window is 256 pages (65,536 documents, 256 KB of accumulators, which stay in L2): measured
// faster than smaller windows, because a row costs a branch miss whatever its length.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "accumulate.hpp"
#include "request.hpp"
#include "scratch.hpp"

namespace lsr {

inline constexpr std::uint32_t kWindowPages = 256;
inline constexpr std::size_t kStopTerms = 16;  // a window of so many terms takes 100 us

namespace detail {

// Add the rows of one term in the pages [first, first + n). A function of its own: inlined into a
// search it kept its pointers on the stack, which cost a tenth of the time.
template <Cpu cpu>
LSR_INLINE void add_line_body(const SegmentView& segment, const HeadTerm& term,
                              std::span<const std::uint8_t> skip, std::uint32_t first,
                              std::uint32_t n, std::uint32_t* acc) {
    const SegmentView::Line line = segment.line(term.head);
    const std::uint8_t* rows_end = segment.rows.data() + segment.rows.size();
    for (std::uint32_t p = 0; p < n; ++p, acc += kPage) {
        if (!skip.empty() && skip[first + p]) continue;
        add_row_in<cpu>(segment.row(line, first + p), {}, rows_end, term.weight, acc);
    }
}

#if LSR_HAS_AVX2_PATH
LSR_NOINLINE LSR_AVX2 inline void add_line_avx2(const SegmentView& segment, const HeadTerm& term,
                                                std::span<const std::uint8_t> skip,
                                                std::uint32_t first, std::uint32_t n,
                                                std::uint32_t* acc) {
    add_line_body<Cpu::avx2>(segment, term, skip, first, n, acc);
}
#endif

LSR_NOINLINE inline void add_line(const SegmentView& segment, const HeadTerm& term,
                                  std::span<const std::uint8_t> skip, std::uint32_t first,
                                  std::uint32_t n, std::uint32_t* acc, Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (uses_avx2(cpu)) return add_line_avx2(segment, term, skip, first, n, acc);
#endif
    (void)cpu;
    add_line_body<Cpu::portable>(segment, term, skip, first, n, acc);
}

template <Cpu cpu>
LSR_INLINE void harvest_window_body(const SegmentView& segment, Live live,
                                    std::span<const std::uint8_t> skip, std::uint32_t first,
                                    std::uint32_t n, std::uint32_t* acc, TopK& top) {
    std::uint32_t blocks[kWindowPages];
    for (std::uint32_t p = 0; p < n; ++p)  // tails do not know `skip`
        blocks[p] = skip.empty() || !skip[first + p] ? kAllBlocks : 0;
    harvest<cpu>(
        segment, live, n, [&](std::size_t i) { return first + std::uint32_t(i); }, blocks, acc,
        top);
}

#if LSR_HAS_AVX2_PATH
LSR_AVX2 inline void harvest_window_avx2(const SegmentView& segment, Live live,
                                         std::span<const std::uint8_t> skip, std::uint32_t first,
                                         std::uint32_t n, std::uint32_t* acc, TopK& top) {
    harvest_window_body<Cpu::avx2>(segment, live, skip, first, n, acc, top);
}
#endif

inline void harvest_window(const SegmentView& segment, Live live,
                           std::span<const std::uint8_t> skip, std::uint32_t first, std::uint32_t n,
                           std::uint32_t* acc, TopK& top, Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (uses_avx2(cpu)) return harvest_window_avx2(segment, live, skip, first, n, acc, top);
#endif
    (void)cpu;
    harvest_window_body<Cpu::portable>(segment, live, skip, first, n, acc, top);
}

}  // namespace detail

// `scratch.query` is prepared and `scratch.top` is open. Pages with a non-zero byte in `skip`
// (empty: none) are passed over; the caller accounts for pages.
inline void exhaustive(const SegmentView& segment, Live live, std::span<const std::uint8_t> skip,
                       const Request& request, Scratch& scratch, Cpu cpu, Report& report) {
    const Prepared& query = scratch.query;
    for (std::uint32_t first = 0; first < segment.n_pages; first += kWindowPages) {
        const std::uint32_t n = std::min(kWindowPages, segment.n_pages - first);
        if (scratch.acc.size() < std::size_t(n) * kPage) scratch.acc.resize(std::size_t(n) * kPage);
        std::uint32_t* acc = scratch.acc.data();
        for (std::size_t t = 0; t < query.heads.size(); ++t) {
            if (t % kStopTerms == 0 && request.stop && request.stop->now()) {
                report.stopped = true;
                report.skip(query.total);
                clear_pages(acc, n);
                return;
            }
            detail::add_line(segment, query.heads[t], skip, first, n, acc, cpu);
        }
        for (const TailTerm& tail : query.tails) add_tail(tail, 0, first, n, acc);
        detail::harvest_window(segment, live, skip, first, n, acc, scratch.top, cpu);
        clear_pages(acc, n);
        scratch.top.tighten();
    }
}

}  // namespace lsr
