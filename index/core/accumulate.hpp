// Scores of whole pages: u32 accumulators, one per position, filled row by row and harvested into
// the top k.
//
// A (term, page) row holds its slots (u8 ascending) and impacts (u8) side by side. Rows are short
// (half of them hold at most four postings), so the cost is finding them: callers locate the rows
// of the next term while they add those of this one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "cpu.hpp"
#include "query.hpp"
#include "segment_view.hpp"
#include "topk.hpp"

namespace lsr {

// acc[slot] += weight x impact. A slot is a u8, so it cannot leave its page of 256 accumulators.
LSR_INLINE void add_row(const Row& row, std::uint32_t weight, std::uint32_t* acc) {
    const std::uint8_t* slots = row.slots;
    const std::uint8_t* impacts = slots + row.n;
    for (std::uint32_t i = 0; i < row.n; ++i) acc[slots[i]] += weight * impacts[i];
}

// Add the postings of a tail term that fall into the pages [page, page + n_pages); `acc` starts at
// the first of them.
inline void add_tail(const TailTerm& tail, std::uint32_t page, std::uint32_t n_pages,
                     std::uint32_t* acc) {
    const std::uint64_t first = std::uint64_t(page) * kPage,
                        last = first + std::uint64_t(n_pages) * kPage;
    const auto begin = std::lower_bound(tail.positions.begin(), tail.positions.end(), first);
    for (std::size_t i = std::size_t(begin - tail.positions.begin()); i < tail.positions.size();
         ++i) {
        const std::uint64_t position = tail.positions[i];
        if (position < first || position >= last)
            break;  // ascending; on corrupt bytes still inside `acc`
        acc[position - first] += tail.weight * tail.impacts[i];
    }
}

namespace detail {

LSR_INLINE void block_maxima_body(const std::uint32_t* acc, std::uint32_t* block_max) {
    for (std::uint32_t b = 0; b < kBlocksPerPage; ++b) {
        std::uint32_t lanes[8] = {};
        for (std::uint32_t i = 0; i < kBlock; i += 8)
            for (std::uint32_t j = 0; j < 8; ++j)
                lanes[j] = std::max(lanes[j], acc[b * kBlock + i + j]);
        std::uint32_t best = 0;
        for (std::uint32_t j = 0; j < 8; ++j) best = std::max(best, lanes[j]);
        block_max[b] = best;
    }
}

#if LSR_HAS_AVX2_PATH
LSR_AVX2 inline void block_maxima_avx2(const std::uint32_t* acc, std::uint32_t* block_max) {
    block_maxima_body(acc, block_max);
}
#endif

}  // namespace detail

// The best score in each of the eight blocks of a page.
inline void block_maxima(const std::uint32_t* acc, std::uint32_t* block_max, Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (cpu == Cpu::avx2) return detail::block_maxima_avx2(acc, block_max);
#endif
    (void)cpu;
    detail::block_maxima_body(acc, block_max);
}

// Offer the documents of one page that live, then zero its accumulators. `live` is empty (all live)
// or one byte a position.
inline void harvest(const SegmentView& segment, std::span<const std::uint8_t> live,
                    std::uint32_t page, std::uint32_t* acc, TopK& top, Cpu cpu) {
    std::uint32_t block_max[kBlocksPerPage];
    block_maxima(acc, block_max, cpu);
    for (std::uint32_t b = 0; b < kBlocksPerPage; ++b) {
        // A block at theta is read: a tie with a smaller docid still enters.
        if (block_max[b] == 0 || block_max[b] < top.theta()) continue;
        for (std::uint32_t i = 0; i < kBlock; ++i) {
            const std::uint32_t score = acc[b * kBlock + i];
            if (score == 0 || score < top.theta()) continue;
            const std::uint32_t position = page * kPage + b * kBlock + i;
            if (position >= segment.n_docs)
                continue;  // only corrupt rows score beyond the last document
            if (!live.empty() && !live[position]) continue;
            top.offer(score, segment.external[position]);
        }
    }
    std::memset(acc, 0, kPage * sizeof(std::uint32_t));
}

}  // namespace lsr
