// Scores of whole pages: u32 accumulators, one per position, filled row by row and harvested into
// the top k.
//
// A (term, page) row holds its slots (u8 ascending) and impacts (u8) side by side. Rows are short
// (half of them hold at most four postings), so the cost is finding them: callers locate the rows
// of the next term while they add those of this one.
#pragma once

#include <algorithm>
#include <bit>
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

inline constexpr std::uint32_t kAllBlocks = (1u << kBlocksPerPage) - 1;

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
// add_row for the postings [begin, end) of a row, eight at a time: most rows take one step, so the
// end of a row, which a loop over its postings mispredicts each time, costs nothing. All rows of
// 200,000 documents for 44 terms: 830 -> 600 us; k = 10: 7 to 12 % less. The last step takes up to
// seven bytes beyond `end` for slots; a slot cannot leave its page and their impact is 0, so they
// add nothing. Reads at most 8 bytes beyond the row, which the caller knows to lie inside `rows`.
LSR_AVX2 inline void add_by_eight(const Row& row, std::uint32_t begin, std::uint32_t end,
                                  std::uint32_t weight, std::uint32_t* acc) {
    const __m256i w = _mm256_set1_epi32(int(weight));
    for (std::uint32_t i = begin; i < end; i += 8) {
        const std::uint8_t* slots = row.slots + i;
        std::uint64_t impacts;
        std::memcpy(&impacts, slots + row.n, 8);
        impacts = _bzhi_u64(impacts, std::min(8 * (end - i), 64u));
        alignas(32) std::uint32_t product[8];
        // Both factors fit i16, so the pairwise products are those of their low halves.
        const __m256i x = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(std::int64_t(impacts)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(product), _mm256_madd_epi16(x, w));
        for (int j = 0; j < 8; ++j) acc[slots[j]] += product[j];
    }
}

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
// scores afterwards. Below 9 postings looking for the range costs more than it saves. The two ways
// of the AVX2 path read less than 32 bytes beyond the row; the last rows are added one by one.
template <Cpu cpu>
LSR_INLINE void add_row_in(const Row& row, SlotRange range, const std::uint8_t* rows_end,
                           std::uint32_t weight, std::uint32_t* acc) {
#if LSR_HAS_AVX2_PATH
    if constexpr (cpu == Cpu::avx2) {
        if (rows_end - row.slots >= std::ptrdiff_t(2 * row.n + 32)) {
            SlotRange found{0, row.n};
            if (row.n > 8 && range.last - range.first < kPage)
                found = detail::find_slots(row, range);
            return detail::add_by_eight(row, found.first, found.last, weight, acc);
        }
    }
#endif
    (void)range, (void)rows_end;
    add_row(row, weight, acc);
}

// Add the postings of a tail term that fall into the pages [page, page + n_pages); `acc` starts at
// the first of them. Looks from posting `from` on and returns the first beyond these pages, so that
// ascending pages gallop through the list instead of searching all of it each time.
inline std::size_t add_tail(const TailTerm& tail, std::size_t from, std::uint32_t page,
                            std::uint32_t n_pages, std::uint32_t* acc) {
    const std::uint64_t first = std::uint64_t(page) * kPage,
                        last = first + std::uint64_t(n_pages) * kPage;
    const std::size_t n = tail.positions.size();
    std::size_t step = 1;
    while (from + step < n && tail.positions[from + step] < first) {
        from += step;
        step *= 2;
    }
    const auto begin = tail.positions.begin();
    std::size_t i =
        std::size_t(std::lower_bound(begin + std::ptrdiff_t(from),
                                     begin + std::ptrdiff_t(std::min(from + step + 1, n)), first) -
                    begin);
    for (; i < n; ++i) {
        const std::uint64_t position = tail.positions[i];
        if (position < first || position >= last)
            break;  // ascending; on corrupt bytes still inside `acc`
        acc[position - first] += tail.weight * tail.impacts[i];
    }
    return i;
}

// Which documents a search may return: bit i of words[b] stands for position 32 b + i, a word a
// block. Empty words: all of them.
struct Live {
    std::span<const std::uint32_t> words;

    bool all() const { return words.empty(); }
    std::uint32_t block(std::size_t b) const {
        if (words.empty()) return ~0u;
        return b < words.size() ? words[b] : 0;
    }
};

namespace detail {

LSR_INLINE std::size_t count_live_body(Live live) {
    std::size_t n = 0;
    for (const std::uint32_t word : live.words) n += std::size_t(std::popcount(word));
    return n;
}

LSR_INLINE void drop_dead_body(Live live, std::uint16_t* bounds) {
    for (std::size_t b = 0; b < live.words.size(); ++b)
        bounds[b] = std::uint16_t(bounds[b] & -std::uint16_t(live.words[b] != 0));
}

#if LSR_HAS_AVX2_PATH
LSR_AVX2 inline std::size_t count_live_avx2(Live live) { return count_live_body(live); }
LSR_AVX2 inline void drop_dead_avx2(Live live, std::uint16_t* bounds) {
    drop_dead_body(live, bounds);
}
#endif

// Bit i: acc[i] >= least, for the 32 documents of a block.
LSR_INLINE std::uint32_t reaching_portable(const std::uint32_t* acc, std::uint32_t least) {
    std::uint32_t word = 0;
    for (std::uint32_t i = 0; i < kBlock; ++i) word |= std::uint32_t(acc[i] >= least) << i;
    return word;
}

LSR_INLINE std::uint32_t block_max_portable(const std::uint32_t* acc) {
    std::uint32_t best = 0;
    for (std::uint32_t i = 0; i < kBlock; ++i) best = std::max(best, acc[i]);
    return best;
}

#if LSR_HAS_AVX2_PATH
LSR_AVX2 inline std::uint32_t reaching_avx2(const std::uint32_t* acc, std::uint32_t least) {
    const __m256i limit = _mm256_set1_epi32(int(least));
    std::uint32_t word = 0;
    for (std::uint32_t i = 0; i < kBlock; i += 8) {
        const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(acc + i));
        const __m256i reaches = _mm256_cmpeq_epi32(_mm256_max_epu32(x, limit), x);
        word |= std::uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(reaches))) << i;
    }
    return word;
}

LSR_AVX2 inline std::uint32_t block_max_avx2(const std::uint32_t* acc) {
    const __m256i* x = reinterpret_cast<const __m256i*>(acc);
    const __m256i a = _mm256_max_epu32(_mm256_loadu_si256(x), _mm256_loadu_si256(x + 1));
    const __m256i b = _mm256_max_epu32(_mm256_loadu_si256(x + 2), _mm256_loadu_si256(x + 3));
    const __m256i c = _mm256_max_epu32(a, b);
    __m128i d = _mm_max_epu32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    d = _mm_max_epu32(d, _mm_shuffle_epi32(d, 0x4E));
    d = _mm_max_epu32(d, _mm_shuffle_epi32(d, 0xB1));
    return std::uint32_t(_mm_cvtsi128_si32(d));
}
#endif

}  // namespace detail

// Bit i: acc[i] >= least, for the 32 documents of a block.
template <Cpu cpu>
LSR_INLINE std::uint32_t reaching(const std::uint32_t* acc, std::uint32_t least) {
#if LSR_HAS_AVX2_PATH
    if constexpr (uses_avx2(cpu)) return detail::reaching_avx2(acc, least);
#endif
    return detail::reaching_portable(acc, least);
}

// The best score in a block among the documents of `live`.
template <Cpu cpu>
LSR_INLINE std::uint32_t block_max(const std::uint32_t* acc, std::uint32_t live) {
    if (live == ~0u) {
#if LSR_HAS_AVX2_PATH
        if constexpr (uses_avx2(cpu)) return detail::block_max_avx2(acc);
#endif
        return detail::block_max_portable(acc);
    }
    std::uint32_t best = 0;
    for (; live; live &= live - 1) best = std::max(best, acc[std::countr_zero(live)]);
    return best;
}

// How many documents of a segment live. Without the instruction for it, counting costs as much as
// a sweep.
inline std::size_t count_live(const SegmentView& segment, Live live, Cpu cpu) {
    if (live.all()) return segment.n_docs;
#if LSR_HAS_AVX2_PATH
    if (uses_avx2(cpu)) return detail::count_live_avx2(live);
#endif
    (void)cpu;
    return detail::count_live_body(live);
}

// Bound 0 for the blocks without a live document; all others stay.
inline void drop_dead(Live live, std::uint16_t* bounds, Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (uses_avx2(cpu)) return detail::drop_dead_avx2(live, bounds);
#endif
    (void)cpu;
    detail::drop_dead_body(live, bounds);
}

// Bit i: the live document i of a block scores at least theta, and more than 0.
template <Cpu cpu>
LSR_INLINE std::uint32_t found_in(const SegmentView& segment, Live live, std::uint32_t block,
                                  const std::uint32_t* acc, const TopK& top) {
    // A score at theta is found: a tie with a smaller docid still enters.
    std::uint32_t found = reaching<cpu>(acc, std::max(top.theta(), 1u)) & live.block(block);
    // Only corrupt rows score beyond the last document.
    const std::uint32_t first = block * kBlock, n = segment.n_docs;
    if (first + kBlock > n) found &= first < n ? (1u << (n - first)) - 1 : 0;
    return found;
}

// Count the documents of one page, in its `blocks` (bit b: block b), that reach theta. Returns the
// blocks where there are any.
template <Cpu cpu>
LSR_INLINE std::uint32_t count_page(const SegmentView& segment, Live live, std::uint32_t page,
                                    std::uint32_t blocks, const std::uint32_t* acc, TopK& top) {
    std::uint32_t hits = 0;
    for (; blocks; blocks &= blocks - 1) {
        const std::uint32_t b = std::uint32_t(std::countr_zero(blocks));
        const std::uint32_t block = page * kBlocksPerPage + b;
        std::uint32_t found = found_in<cpu>(segment, live, block, acc + b * kBlock, top);
        if (!found) continue;
        hits |= 1u << b;
        for (std::uint32_t i = 0; i < kBlock; i += 16)
            LSR_PREFETCH(segment.external.data() + std::size_t(block) * kBlock + i);
        for (; found; found &= found - 1) top.count(acc[b * kBlock + std::countr_zero(found)]);
    }
    top.tighten();
    return hits;
}

// Offer the documents of one page that reach theta, where they are not counted yet.
template <Cpu cpu>
LSR_INLINE void offer_page(const SegmentView& segment, Live live, std::uint32_t page,
                           std::uint32_t blocks, const std::uint32_t* acc, TopK& top) {
    for (; blocks; blocks &= blocks - 1) {
        const std::uint32_t b = std::uint32_t(std::countr_zero(blocks));
        const std::uint32_t block = page * kBlocksPerPage + b;
        std::uint32_t found = found_in<cpu>(segment, live, block, acc + b * kBlock, top);
        for (; found; found &= found - 1) {
            const std::uint32_t i = std::uint32_t(std::countr_zero(found));
            const std::uint32_t position = block * kBlock + i;
            const std::uint32_t score = acc[b * kBlock + i], docid = segment.external[position];
            if (top.by_group())
                top.offer(score, docid, segment.group_of(position));
            else
                top.keep(score, docid);
        }
    }
}

// Offer the live documents of n pages that lie in their blocks `blocks[i]`; acc[i] belongs to
// page_of(i). Overwrites `blocks`.
template <Cpu cpu, class PageOf>
LSR_INLINE void harvest(const SegmentView& segment, Live live, std::size_t n, PageOf page_of,
                        std::uint32_t* blocks, const std::uint32_t* acc, TopK& top) {
    if (top.counting())
        for (std::size_t i = 0; i < n; ++i)
            if (blocks[i])
                blocks[i] =
                    count_page<cpu>(segment, live, page_of(i), blocks[i], acc + i * kPage, top);
    for (std::size_t i = 0; i < n; ++i)
        if (blocks[i]) offer_page<cpu>(segment, live, page_of(i), blocks[i], acc + i * kPage, top);
}

// Zero the accumulators of n pages, all at once: page by page compilers make slow stores of it.
inline void clear_pages(std::uint32_t* acc, std::size_t n) {
    std::memset(acc, 0, n * kPage * sizeof(std::uint32_t));
}

}  // namespace lsr
