// Every posting of every query term, term at a time over windows of documents: the oracle of the
// other algorithms, and the fastest way when pruning cannot help. It relies on nothing but the
// postings, so there is no bound to get wrong.
//
// A window is 256 pages (65,536 documents, 256 KB of accumulators, which stay in L2): measured
// faster than smaller windows, because a row costs a branch miss whatever its length.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "accumulate.hpp"
#include "scratch.hpp"

namespace lsr {

inline constexpr std::uint32_t kWindowPages = 256;

// `scratch.query` is prepared and `scratch.top` is open. Pages with a non-zero byte in `skip`
// (empty: none) are passed over.
inline void exhaustive(const SegmentView& segment, std::span<const std::uint8_t> live,
                       std::span<const std::uint8_t> skip, Scratch& scratch, Cpu cpu) {
    const Prepared& query = scratch.query;
    for (std::uint32_t first = 0; first < segment.n_pages; first += kWindowPages) {
        const std::uint32_t n = std::min(kWindowPages, segment.n_pages - first);
        if (scratch.acc.size() < std::size_t(n) * kPage) scratch.acc.resize(std::size_t(n) * kPage);
        std::uint32_t* acc = scratch.acc.data();
        for (const HeadTerm& term : query.heads) {
            const SegmentView::Line line = segment.line(term.head);
            for (std::uint32_t p = 0; p < n; ++p) {
                if (!skip.empty() && skip[first + p]) continue;
                add_row(segment.row(line, first + p), term.weight, acc + std::size_t(p) * kPage);
            }
        }
        for (const TailTerm& tail : query.tails) add_tail(tail, first, n, acc);
        for (std::uint32_t p = 0; p < n; ++p) {
            std::uint32_t* page = acc + std::size_t(p) * kPage;
            if (!skip.empty() && skip[first + p])
                std::memset(page, 0, kPage * sizeof(std::uint32_t));  // tails do not know `skip`
            else
                harvest(segment, live, first + p, kAllBlocks, page, scratch.top, cpu);
        }
    }
}

}  // namespace lsr
