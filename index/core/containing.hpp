// The documents that hold a term, as live words: what `require` and `exclude` are made of. A search
// that combines them into its mask needs no rule of its own, and its bounds stay those of the mask.
#pragma once

#include <cstdint>
#include <vector>

#include "segment_view.hpp"

namespace lsr {

// Bit i of word b: position 32 b + i holds the term. Bits beyond the last document are 0.
inline std::vector<std::uint32_t> documents_with(const SegmentView& segment, std::uint32_t term) {
    std::vector<std::uint32_t> words((std::size_t(segment.n_docs) + kBlock - 1) / kBlock);
    auto mark = [&](std::uint64_t position) {
        if (position < segment.n_docs)  // corrupt bytes stay harmless
            words[position / kBlock] |= 1u << (position % kBlock);
    };
    if (term >= segment.n_terms) return words;
    if (const std::uint32_t head = segment.head(term); head != SegmentView::kTail) {
        const SegmentView::Line line = segment.line(head);
        for (std::uint32_t page = 0; page < segment.n_pages; ++page) {
            const Row row = segment.row(line, page);
            for (std::uint32_t i = 0; i < row.n; ++i)
                mark(std::uint64_t(page) * kPage + row.slots[i]);
        }
    } else {
        for (std::size_t i = segment.tail_start[term]; i < segment.tail_start[term + 1]; ++i)
            mark(segment.tail_doc[i]);
    }
    return words;
}

}  // namespace lsr
