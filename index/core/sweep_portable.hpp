// One step of the sweep without vector instructions: the reference that the other paths equal bit
// for bit, because saturating sums do not depend on their order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "cpu.hpp"
#include "segment_view.hpp"

namespace lsr::detail {

inline constexpr std::size_t kStepTerms = 4;

// One term's cells and its bounds per code, split into low and high bytes for the shuffles.
struct SweepTerm {
    const std::uint8_t* cells = nullptr;
    alignas(16) std::uint8_t low[kCodes];
    alignas(16) std::uint8_t high[kCodes];
};

// At most kStepTerms terms over the blocks [first, first + n), both multiples of 64. Byte j of 32
// bytes of cells holds block j in its low and block j + 32 in its high four bits.
struct SweepStep {
    std::span<const SweepTerm> terms;
    std::size_t first = 0, n = 0;
};

// Where the cells lie that the next step reads. Prefetching them is half the sweep when the grid
// is not in cache: a stripe of one term is a page of memory, where hardware prefetchers stop.
// A step without successor gets its own cells, which are in cache by then.
struct Ahead {
    const std::uint8_t* cells[kStepTerms];

    Ahead(const SweepStep& now, const SweepStep& next) {
        for (std::size_t t = 0; t < kStepTerms; ++t) {
            const SweepStep& from = next.terms.empty() ? now : next;
            cells[t] = from.terms[std::min(t, from.terms.size() - 1)].cells + from.first / 2;
        }
    }
    LSR_INLINE void prefetch(std::size_t at) const {
        for (const std::uint8_t* line : cells) LSR_PREFETCH(line + at / 2);
    }
};

// a + b, at most 65,535.
LSR_INLINE std::uint16_t add_saturated(std::uint16_t a, std::uint32_t b) {
    return std::uint16_t(std::min<std::uint32_t>(a + b, 65535));
}

inline void sweep_portable(const SweepStep& now, const SweepStep&, std::uint16_t* sum) {
    for (const SweepTerm& term : now.terms) {
        std::uint16_t table[kCodes];
        for (std::uint32_t c = 0; c < kCodes; ++c)
            table[c] = std::uint16_t(term.low[c] | term.high[c] << 8);
        for (std::size_t g = now.first; g < now.first + now.n; g += 64) {
            const std::uint8_t* cells = term.cells + g / 2;
            std::uint16_t* out = sum + g;
            for (std::size_t j = 0; j < 32; ++j) {
                out[j] = add_saturated(out[j], table[cells[j] & 15]);
                out[j + 32] = add_saturated(out[j + 32], table[cells[j] >> 4]);
            }
        }
    }
}

// For paths whose sums lie in the order of the blocks.
inline void copy_bounds(const std::uint16_t* sum, std::uint16_t* bound, std::size_t n) {
    if (sum != bound) std::memcpy(bound, sum, n * sizeof(std::uint16_t));
}

inline void page_maxima_portable(const std::uint16_t* bound, std::uint16_t* page_max,
                                 std::size_t n_pages) {
    for (std::size_t p = 0; p < n_pages; ++p) {
        const std::uint16_t* b = bound + p * kBlocksPerPage;
        page_max[p] = *std::max_element(b, b + kBlocksPerPage);
    }
}

}  // namespace lsr::detail
