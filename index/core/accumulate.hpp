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

#if LSR_HAS_AVX2_PATH
#include <immintrin.h>
#endif

namespace lsr {

// acc[slot] += weight x impact. A slot is a u8, so it cannot leave its page of 256 accumulators.
LSR_INLINE void add_row(const Row& row, std::uint32_t weight, std::uint32_t* acc) {
    const std::uint8_t* slots = row.slots;
    const std::uint8_t* impacts = slots + row.n;
    for (std::uint32_t i = 0; i < row.n; ++i) acc[slots[i]] += weight * impacts[i];
}

// The slots of interest in a page: [first, last).
struct SlotRange {
    std::uint32_t first = 0, last = kPage;
};

namespace detail {

#if LSR_HAS_AVX2_PATH
// How many slots are below `range.first` and below `range.last`. Slots ascend, so these are the
// ends of the postings of interest; on corrupt bytes they are still at most n. Reads whole groups
// of 32 slots, which the caller knows to lie inside `rows`.
LSR_AVX2 inline SlotRange find_slots(const Row& row, SlotRange range) {
    SlotRange found{0, 0};
    const __m256i last = _mm256_set1_epi8(char(range.last - 1));
    const __m256i first = _mm256_set1_epi8(char(range.first));
    for (std::uint32_t i = 0; i < row.n; i += 32) {
        const __m256i slots = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row.slots + i));
        const std::uint32_t valid = _bzhi_u32(~0u, std::min(row.n - i, 32u));
        const __m256i below_last = _mm256_cmpeq_epi8(_mm256_min_epu8(slots, last), slots);
        const __m256i from_first = _mm256_cmpeq_epi8(_mm256_max_epu8(slots, first), slots);
        found.first +=
            std::uint32_t(_mm_popcnt_u32(~std::uint32_t(_mm256_movemask_epi8(from_first)) & valid));
        found.last +=
            std::uint32_t(_mm_popcnt_u32(std::uint32_t(_mm256_movemask_epi8(below_last)) & valid));
    }
    return found;
}
#endif

}  // namespace detail

// add_row for at least the slots in `range`; others may be added too, so only those of `range` hold
// scores afterwards. Below 9 postings looking for the range costs more than it saves.
template <Cpu cpu>
LSR_INLINE void add_row_in(const Row& row, SlotRange range, const std::uint8_t* rows_end,
                           std::uint32_t weight, std::uint32_t* acc) {
#if LSR_HAS_AVX2_PATH
    if constexpr (cpu == Cpu::avx2) {
        if (row.n > 8 && range.last - range.first < kPage &&
            rows_end - row.slots >= std::ptrdiff_t((row.n + 31) / 32 * 32)) {
            const SlotRange found = detail::find_slots(row, range);
            const std::uint8_t* impacts = row.slots + row.n;
            for (std::uint32_t i = found.first; i < found.last; ++i)
                acc[row.slots[i]] += weight * impacts[i];
            return;
        }
    }
#endif
    (void)range, (void)rows_end;
    add_row(row, weight, acc);
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

// Offer the documents of one page that live and lie in a block of `blocks` (bit b: block b), then
// zero its accumulators. `live` is empty (all live) or one byte a position.
inline void harvest(const SegmentView& segment, std::span<const std::uint8_t> live,
                    std::uint32_t page, std::uint32_t blocks, std::uint32_t* acc, TopK& top,
                    Cpu cpu) {
    std::uint32_t block_max[kBlocksPerPage];
    block_maxima(acc, block_max, cpu);
    for (std::uint32_t b = 0; b < kBlocksPerPage; ++b) {
        // A block at theta is read: a tie with a smaller docid still enters.
        if (!(blocks >> b & 1) || block_max[b] == 0 || block_max[b] < top.theta()) continue;
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

inline constexpr std::uint32_t kAllBlocks = (1u << kBlocksPerPage) - 1;

}  // namespace lsr
